"""The situations of docs/reliability.md: each comes out right, or the user is told.

Those of the command line, which take a moment, run with every test; all of them with
``python -m pytest -m slow tests/reliability``, in some minutes.
"""

import json

import pytest
from trial.judge import GOOD
from trial.page import key_of
from trial.run import ROOT, STORED, run


def wrong(rows: list[dict]) -> list[str]:
    return [
        f'{key_of(row)}: {row["outcome"]}: {row["text"]}'
        for row in rows
        if row['outcome'] not in GOOD
    ]


def test_the_command_line_is_right_or_tells(tmp_path):
    rows = run(ROOT, tmp_path, short=True)['rows']
    assert len(rows) > 30
    assert not wrong(rows), '\n'.join(wrong(rows))


@pytest.mark.slow
def test_every_situation_is_right_or_told(tmp_path):
    rows = run(ROOT, tmp_path)['rows']
    assert len(rows) > 400
    assert not wrong(rows), '\n'.join(wrong(rows))
    assert set(json.loads(STORED.read_text())) == {key_of(row) for row in rows}
