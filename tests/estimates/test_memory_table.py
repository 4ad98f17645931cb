"""The tables of memory in the READMEs of the configs are what the estimator says."""

import re

import pytest
from memory_table import READMES, leaves, row, rows_of

WRITTEN = [readme for readme in READMES if 'tiny' in rows_of(readme)]
CHOSEN = [(readme, key) for readme in READMES for key in leaves(readme)]


def numbers(line: str) -> list[float]:
    found = re.findall(r'[\d.]+', line.partition('],')[2].replace(',', ''))
    return [float(each) for each in found]


def check(readme, key) -> None:
    written, now = numbers(rows_of(readme)[key]), numbers(row(key, leaves(readme)[key]))
    assert written == pytest.approx(now, rel=0.05, abs=0.2), key


@pytest.mark.parametrize('readme', WRITTEN, ids=lambda path: path.parent.name)
def test_the_row_of_the_tiny_leaf_is_right_and_no_row_is_of_a_leaf_that_is_gone(readme):
    assert rows_of(readme).keys() <= leaves(readme).keys()
    check(readme, 'tiny')


@pytest.mark.slow
@pytest.mark.parametrize(('readme', 'key'), CHOSEN, ids=lambda value: str(value)[-20:])
def test_each_leaf_has_a_row_that_is_right(readme, key):
    check(readme, key)
