"""Writes docs/reliability.md from the outcomes at the old commit and now."""

import html
import itertools
import textwrap
from collections import Counter
from collections.abc import Sequence

from .judge import GOOD

BEFORE = '4eceedf'
WIDTH = 100  # columns of a line
HEAD = f'<tr><th>situation</th><th>through</th><th>at {BEFORE}</th><th>now</th></tr>'
WORDS = {
    'right': 'right',
    'told': 'told',
    'silently wrong': 'silently wrong',
    'trace': 'stack trace',
    'misleading': 'misleading sentence',
    'late': 'told late',
    'no end': 'no end',
}
INTRODUCTION = f"""
# What happens when something is unusual or wrong

This page lists situations in which people who build panoptic data, train, evaluate and deploy find
themselves, and what comes of each. Where a situation comes from a public report, its name is a link
to it. Each one was set up by a script, with small generated data and a small model, at commit
`{BEFORE}` and with the code beside this page, through the command or function of the second column.
The script judges by itself, from the exit code, the output, and a value that the situation computes
in another way. Each of the two trains its own weights, so the right PQ of a test is not the same:

* **right**: the value is the right one, and where it needs a word, the output has that word.
* **told**: the user is told in one sentence, which names the file, the key or the value. It comes
  before training begins, except for weights and losses that cease to be finite on the way.
* **silently wrong**: a value is wrong, or a run comes to its end that cannot be right.
* **stack trace**: an error that is not meant for users; its last line is quoted.
* **misleading sentence**: a sentence that does not name what is wrong, or that refuses what is
  right.
* **told late**: a sentence that comes after training has begun.
* **no end**: the run had to be stopped.
"""
AGAIN = """
To make this page again, in about six minutes on two cores:

    python tests/reliability/make_table.py --markdown docs/reliability.md

`--before CHECKOUT` also sets every situation up in a checkout of the old commit and stores what
came of it in `tests/reliability/before.json`; without it the stored outcomes are taken.
`--rows PATTERN` tries single rows. `pytest -m slow tests/reliability` fails where a row is neither
right nor told. A new situation is a function in `tests/reliability/situations`.
"""


def page(rows: Sequence[dict], before: dict, texts: dict[str, str]) -> str:
    """The page.

    Args:
        rows: the outcomes now, each with kind, name, route and report of its situation.
        before: the outcomes at the old commit, by :func:`key_of` of the row.
        texts: what is said of each kind of situations.
    """
    lines = [INTRODUCTION.strip(), '', *summary(rows, before)]
    lines.append(AGAIN.strip())
    for kind in dict.fromkeys(row['kind'] for row in rows):
        lines += ['', f'## {kind}', '', textwrap.fill(texts[kind], WIDTH), '', '<table>', HEAD]
        for row in rows:
            if row['kind'] == kind:
                lines += row_lines(row, before.get(key_of(row)))
        lines.append('</table>')
    return '\n'.join(lines) + '\n'


def key_of(row: dict) -> str:
    return f'{row["kind"]}: {row["name"]} [{row["route"]}]'


def summary(rows: Sequence[dict], before: dict) -> list[str]:
    now = Counter(row['outcome'] for row in rows)
    old = Counter(before[key_of(row)]['outcome'] for row in rows if key_of(row) in before)
    lines = [f'| {len(rows)} situations | at {BEFORE} | now |', '|---|---|---|']
    lines += [f'| {word} | {old[kind]} | {now[kind]} |' for kind, word in WORDS.items()]
    return [*lines, '']


def row_lines(row: dict, old: dict | None) -> list[str]:
    """A row of the table, broken into lines of the repository's width."""
    name = html.escape(row['name'], quote=False)
    if row['report']:
        name = f'<a href="{row["report"]}">{name}</a>'
    same = old == dict(outcome=row['outcome'], text=row['text'])
    now = f'<i>{WORDS[row["outcome"]]}</i>: the same' if same else came_of(row)
    cells = name, f'<code>{html.escape(row["route"])}</code>', came_of(old), now
    wrapped = (textwrap.wrap(f'<td>{cell}</td>', WIDTH, break_on_hyphens=False) for cell in cells)
    return ['<tr>', *itertools.chain(*wrapped), '</tr>']


def came_of(row: dict | None) -> str:
    if row is None:
        return ''
    emphasis = 'i' if row['outcome'] in GOOD else 'b'
    text = html.escape(row['text'], quote=False)
    return f'<{emphasis}>{WORDS[row["outcome"]]}</{emphasis}>: {text}'
