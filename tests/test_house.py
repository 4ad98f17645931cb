"""Rules of the house that a reader relies on, held for every file that git tracks.

Outside of a git checkout they are held for the folders of the project. Files that a user adds are
not read.
"""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('.ci', 'configs', 'docs', 'projects', 'requirements', 'tests', 'tools')
TEXT = ('.py', '.md', '.sh', '.toml', '.yml', '.yaml', '.txt', '.in', '.html', '.j2')
MAX_COLUMNS = 100
MIN_LINES, MAX_LINES = 20, 250  # of a Python file of the package or of tools/


@cache
def tracked() -> list[Path]:
    """The project's text files, relative to its root."""
    try:
        listing = subprocess.run(
            ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, check=True, timeout=60
        )
        paths = [Path(name) for name in listing.stdout.decode().split('\0') if name]
    except (OSError, subprocess.SubprocessError):
        paths = []
    if not paths:
        paths = [
            path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob('*')
        ]
        paths += [path.relative_to(ROOT) for path in ROOT.glob('*') if path.is_file()]
    return [
        path
        for path in paths
        if (path.suffix in TEXT or path == Path('.ci/run')) and (ROOT / path).is_file()
    ]


@cache
def text_of(path: Path) -> str:
    return (ROOT / path).read_text(encoding='utf-8')


def python_files(*folders: str) -> list[Path]:
    return [
        path
        for path in tracked()
        if path.suffix == '.py' and any(path.is_relative_to(folder) for folder in folders)
    ]


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere, relative imports resolved."""
    package = path.with_suffix('').parts[1:-1]  # without projects/
    names = set()
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*base, *([node.module] if node.module else [])])
            names |= {module} | {f'{module}.{alias.name}' for alias in node.names}
    return names


def test_the_files_are_found():
    assert {Path('README.md'), Path('pyproject.toml'), Path('.ci/run')} <= set(tracked())
    assert len(python_files('projects/cmt_deeplab')) > 50


@pytest.mark.parametrize(
    ('importer', 'forbidden'),
    [
        ('models', 'cmt_deeplab.datasets'),
        ('criterion', 'cmt_deeplab.models'),
        ('postprocess', 'cmt_deeplab.models'),
    ],
)
def test_parts_do_not_know_each_other(importer, forbidden):
    for path in python_files(f'projects/cmt_deeplab/{importer}'):
        wrong = {
            name
            for name in imported_modules(path)
            if name == forbidden or name.startswith(f'{forbidden}.')
        }
        assert not wrong, f'{path} imports {sorted(wrong)}'


def test_the_package_does_not_import_the_tools():
    for path in python_files('projects/cmt_deeplab'):
        assert not {name for name in imported_modules(path) if name.split('.')[0] == 'tools'}, path


def test_lint_and_spelling_have_one_version():
    pinned = re.compile(r'\b(ruff|codespell)==([\d.]+)')
    hooks = set(pinned.findall(text_of(Path('.pre-commit-config.yaml'))))
    assert {name for name, _ in hooks} == {'ruff', 'codespell'}
    in_tests = set(pinned.findall(text_of(Path('requirements/tests.txt'))))
    assert hooks == in_tests


def test_the_instance_offset_is_defined_once():
    definitions = [
        path
        for path in python_files('projects/cmt_deeplab', 'tools')
        if re.search(r'^INSTANCE_OFFSET\s*=', text_of(path), re.MULTILINE)
    ]
    assert definitions == [Path('projects/cmt_deeplab/coco_format.py')]


def test_files_that_documents_name_exist():
    names = [f'/{path.as_posix()}' for path in tracked()]
    mention = re.compile(r'`((?:[\w-]+/)*[\w.-]+\.(?:py|sh|txt|yml|toml))\b')
    for path in tracked():
        if path.suffix != '.md' or path.parts[0] == 'configs':  # there old names stand beside new
            continue
        for name in mention.findall(text_of(path)):
            assert any(known.endswith(f'/{name}') for known in names), f'{path} names {name}'


@pytest.mark.parametrize('folder', ['criterion', 'engine', 'engine/loop', 'engine/resuming'])
def test_a_folder_can_be_surveyed(folder):
    folder = Path('projects/cmt_deeplab', folder)
    assert len([path for path in python_files(folder) if path.parent == folder]) <= 10


def test_the_spelling_is_american():
    # codespell knows whole words; this finds them inside of names too.
    british = re.compile(
        r'(?i)(cent)re|(col)our|(behavi)our|(neighb)our|(label|model)l(ed|ing)|(lear)nt|(arte)fact'
        r'|(normal|optim|visual|initial|synchron|maxim|minim|sum{2}ar|organ|general)is(e|ing|ation)'
    )
    for path in tracked():
        # These have the names of old configs, and sentences of an old commit.
        if path.stem in ('renamed', 'test_renamed', 'test_detector', 'reliability'):
            continue
        found = british.search(text_of(path))
        assert not found, f'{path} has the British spelling {found.group()!r}'


def test_links_of_documents_lead_somewhere():
    link = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')
    reference = re.compile(r'^\[[^\]]+\]: (\S+)$', re.MULTILINE)
    for path in tracked():
        if path.suffix != '.md':
            continue
        for target in link.findall(text_of(path)) + reference.findall(text_of(path)):
            if target.startswith(('http://', 'https://', '#')):
                continue
            file, _, anchor = target.partition('#')
            destination = (ROOT / path).parent / file
            assert destination.exists(), f'{path} links to {target}, which does not exist'
            if anchor and destination.suffix == '.md':
                headings = re.findall(r'^#+ (.+)$', destination.read_text('utf-8'), re.MULTILINE)
                slugs = {re.sub(r'[^\w\- ]', '', h.lower()).replace(' ', '-') for h in headings}
                assert anchor in slugs, f'{path} links to {target}: there is no such heading'


def test_no_file_cites_a_document_outside_of_the_repository():
    names = {path.name for path in tracked()}
    mention = re.compile(r'(?<![\w/-])((?:[\w-]+/)*[A-Za-z][\w-]*\.md)\b')
    of_the_site = {Path('mkdocs.yml'), Path('.ci/build_site.py'), Path('tests/test_site.py')}
    for path in set(tracked()) - of_the_site:
        for name in mention.findall(re.sub(r'https?://\S+', '', text_of(path))):
            ours = name.rpartition('/')[2] in names
            assert ours or name.startswith('g3doc/'), f'{path} cites {name}'  # g3doc: deeplab2


def test_files_have_a_length_that_can_be_read():
    wrong = {
        str(path): lines
        for path in python_files('projects/cmt_deeplab', 'tools')
        if path.name != '__init__.py'
        and not MIN_LINES <= (lines := len(text_of(path).splitlines())) <= MAX_LINES
    }
    assert not wrong


def test_no_two_files_of_tests_have_one_name():
    """pytest collects neither of them then, so that the whole suite ends."""
    names = [path.name for path in python_files('tests') if path.name.startswith('test_')]
    assert not {name for name in names if names.count(name) > 1}


def test_no_line_is_longer_than_100_columns():
    long = [
        f'{path}:{number}'
        for path in tracked()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if len(line) > MAX_COLUMNS
    ]
    assert not long, f'{len(long)} lines are longer than {MAX_COLUMNS} columns: {long[:20]}'
