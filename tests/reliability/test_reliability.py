"""The situations of docs/reliability.md: each comes out right, or the user is told.

Those of the command line, which take a moment, run with every test; all of them with
``python -m pytest -m slow tests/reliability``, in some minutes.
"""

import faults  # noqa: F401  they register their situations
import pytest
import situations  # noqa: F401
from trial.judge import GOOD
from trial.page import page
from trial.run import ROOT, run


def wrong(rows: list[dict]) -> list[str]:
    return [
        f'{row["key"]}: {row["outcome"]}: {row["text"]}'
        for row in rows
        if row['outcome'] not in GOOD
    ]


def test_the_command_line_is_right_or_tells(tmp_path):
    rows = run(tmp_path, short=True)
    assert len(rows) > 30
    assert not wrong(rows), '\n'.join(wrong(rows))


@pytest.mark.slow
def test_every_situation_is_right_or_told(tmp_path):
    rows = run(tmp_path)
    assert len(rows) > 400
    assert not wrong(rows), '\n'.join(wrong(rows))


def test_the_page_has_every_situation():
    again = 'python tests/reliability/try_all.py --page docs/reliability.md'
    assert (ROOT / 'docs/reliability.md').read_text(encoding='utf-8') == page(), again
