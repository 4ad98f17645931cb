"""Builds the documentation as a site: work_dirs/site/html, to be opened at index.html.

    python -m pip install -r requirements/docs.txt
    python .ci/build_site.py
The pages are README.md and the other documents, whose links work on a host of repositories too.
This script copies them to work_dirs/site/pages with their links turned into those of the site: a
module of the package is found on its page of the API reference, which mkdocstrings makes from the
docstrings; what the site does not hold is named without a link. Equations become MathML, so that
a reader's browser loads nothing from elsewhere. Zensical then builds mkdocs.yml, and a link that
leads nowhere ends the build with status 1. MkDocs with its theme Material reads the same file.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / 'work_dirs' / 'site' / 'pages'
HTML = PAGES.parent / 'html'
PACKAGE = Path('projects/cmt_deeplab')
DOCUMENTS = {
    'README.md': 'index.md',
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'SECURITY.md': 'security.md',
}
LINK = re.compile(r'(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:)([^)#\s]*)(#[^)\s]*)?\)')
ROLE = re.compile(r':(?:class|meth|func|mod|attr|data|exc):(?=<|`)')  # of Sphinx, in docstrings
INLINE_MATH = re.compile(r'\$`([^`]+)`\$')
MODULES = 'modules'  # the page of the modules that lie in no folder of the package


def page_of(path: Path) -> str | None:
    """The page of the site that holds a file of the project, or None if there is none."""
    if path.is_relative_to(PACKAGE) and path.suffix == '.py':
        names = path.relative_to(PACKAGE).with_suffix('').parts
        page = names[0] if len(names) > 1 else MODULES
        return f'api/{page}.md#cmt_deeplab.{".".join(names)}'.removesuffix('.__init__')
    if path.is_relative_to(PACKAGE) and (ROOT / path / '__init__.py').is_file():
        return page_of(path / '__init__.py')
    if path.is_relative_to('docs'):
        return str(path.relative_to('docs')) if (ROOT / path).is_file() else None
    return DOCUMENTS.get(str(path))


def linked(text: str, path: Path) -> str:
    """The text of a document with its links turned into those of the site."""

    def link(match: re.Match) -> str:
        image, words, target = match[1], match[2], match[3]
        anchor = re.sub('-+', '-', match[4] or '')  # as Python-Markdown names headings
        if not target:
            return f'[{words}]({anchor})'
        page = page_of((ROOT / path.parent / target).resolve().relative_to(ROOT))
        if page is None:
            return words
        return f'{image}[{words}]({page}{anchor})'

    return LINK.sub(link, text)


def with_wide_lists(text: str) -> str:
    """The text with its lists indented by 4 columns, as Python-Markdown wants them."""
    lines, in_list = text.split('\n'), False
    for number, line in enumerate(lines):
        if re.match(r'([*-]|\d+\.) ', line):
            in_list = True
        elif line and not line.startswith(' '):
            in_list = False
        elif in_list and line:
            lines[number] = f'  {line}'
    return '\n'.join(lines)


def with_equations(text: str) -> str:
    """The text with its equations as MathML, outside of fenced blocks."""
    from latex2mathml.converter import convert

    parts = re.split(r'(^ *```.*?^ *```$)', text, flags=re.MULTILINE | re.DOTALL)
    for number, part in enumerate(parts):
        fenced = part.strip()
        if fenced.startswith('```math'):
            formula = convert(fenced.removeprefix('```math').removesuffix('```'), display='block')
            indent = part[: len(part) - len(part.lstrip(' '))]
            parts[number] = f'{indent}<span class="equation">{formula}</span>'
        elif not fenced.startswith('```'):
            parts[number] = INLINE_MATH.sub(lambda match: f'<span>{convert(match[1])}</span>', part)
    return ''.join(parts)


def api_pages() -> dict[str, list[str]]:
    """The modules on each page of the API reference, by the name of the page."""
    folders = [path.parent.name for path in sorted((ROOT / PACKAGE).glob('*/__init__.py'))]
    modules = [path.stem for path in sorted((ROOT / PACKAGE).glob('[!_]*.py'))]
    return {folder: [folder] for folder in folders} | {MODULES: modules}


def write_pages() -> None:
    """Copy documents and pictures, and write the pages of the API reference."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / 'docs', PAGES)
    (PAGES / 'api').mkdir()
    documents = DOCUMENTS | {f'docs/{path.name}': path.name for path in PAGES.glob('*.md')}
    for source, page in documents.items():
        text = (ROOT / source).read_text(encoding='utf-8')
        text = with_equations(with_wide_lists(linked(text, Path(source))))
        (PAGES / page).write_text(text, encoding='utf-8')
    for page, modules in api_pages().items():
        title = 'Single modules' if page == MODULES else f'cmt_deeplab.{page}'
        lines = [f'# {title}', *(f'::: cmt_deeplab.{module}' for module in modules)]
        (PAGES / 'api' / f'{page}.md').write_text('\n\n'.join(lines) + '\n', encoding='utf-8')


def main() -> None:
    write_pages()
    command = [sys.executable, '-m', 'zensical', 'build', '--strict', '--clean']
    status = subprocess.run(command, cwd=ROOT).returncode
    if status:
        raise SystemExit('Error: the site could not be built without warnings; see above.')
    for path in [*(HTML / 'api').glob('*.html'), HTML / 'search.json']:
        text = path.read_text(encoding='utf-8')
        path.write_text(ROLE.sub('', text), encoding='utf-8')
    print('The site is work_dirs/site/html/index.html.')


if __name__ == '__main__':
    main()
