"""Rules of the house that a reader relies on, held for every file that git tracks.

Outside of a git checkout they are held for the folders of the project. Files that a user adds are
not read.
"""

import ast
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
        names = listing.stdout.decode().split('\0')
        paths = [Path(name) for name in names if name]
    except (OSError, subprocess.SubprocessError):
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
