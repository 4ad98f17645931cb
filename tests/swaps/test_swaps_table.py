"""Every row of docs/swaps.md: ``python -m pytest -m slow tests/swaps``."""

import pytest
from swapping.data import write_data
from swapping.rows import ROWS
from swapping.run import run_rows


@pytest.mark.slow
def test_every_row_works_or_ends_in_its_sentence(tmp_path):
    pytest.importorskip('timm', reason='the optional package timm is not installed')
    write_data(tmp_path)
    faults = [
        f'{row.section}: {row.part}: {outcome.text}'
        for row, outcome in run_rows(ROWS, tmp_path, jobs=2)
        if outcome.kind == 'fault'
    ]
    assert len(ROWS) >= 150
    assert not faults, '\n'.join(faults)
