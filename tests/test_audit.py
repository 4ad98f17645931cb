"""What continuous integration says of known vulnerabilities."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / '.ci/audit.py'


@pytest.fixture(scope='module')
def audit():
    spec = importlib.util.spec_from_file_location('audit', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLEAN = dict(name='torch', version='2.13.0', vulns=[])
UNKNOWN = dict(name='numpy', skip_reason='Dependency not found on PyPI')
FAULTY = dict(name='rich', version='15.0.0', vulns=[dict(id='PYSEC-1', fix_versions=['15.1'])])


@pytest.mark.parametrize(
    'found, vulnerable, words',
    [
        ([], False, 'cannot be reached'),
        ([UNKNOWN], False, 'cannot be reached'),
        ([CLEAN, UNKNOWN], False, 'no known vulnerabilities in 1 of 2 packages.'),
        ([CLEAN, FAULTY], True, 'rich 15.0.0: PYSEC-1, mended in 15.1'),
    ],
)
def test_vulnerable_versions_are_named(audit, found, vulnerable, words):
    sentence, told = audit.told('constraints.txt', found)
    assert told is vulnerable and words in sentence


@pytest.mark.parametrize(
    'stderr, found', [('requests.exceptions.ConnectionError: no name', []), ('a mistake', None)]
)
def test_a_database_that_is_not_there_is_no_mistake(audit, monkeypatch, stderr, found):
    monkeypatch.setattr(
        audit.subprocess,
        'run',
        lambda command, **options: audit.subprocess.CompletedProcess(command, 1, '', stderr),
    )
    if found is None:
        with pytest.raises(SystemExit, match=r'pip-audit failed on constraints\.txt'):
            audit.look_up(SCRIPT.with_name('constraints.txt'))
    else:
        assert audit.look_up(SCRIPT.with_name('constraints.txt')) == found
