"""Writes docs/reliability.md from the outcomes at the old commit and now."""

import html
import textwrap
from collections import Counter
from collections.abc import Sequence

BEFORE = '4eceedf'
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
in another way:

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
To make this page again:

    python tests/reliability/make_table.py --markdown docs/reliability.md

It takes some minutes. `--before CHECKOUT` also sets every situation up in
a checkout of the old commit and stores what came of it in `tests/reliability/before.json`; without
it the stored outcomes are taken. `--rows PATTERN` shows single rows on the terminal.
`pytest -m slow tests/reliability` fails where a row is neither right nor told.
"""


def page(rows: Sequence[dict], before: dict, texts: dict[str, str], seconds: float) -> str:
    """The page.

    Args:
        rows: the outcomes now, each with kind, name, route and report of its situation.
        before: the outcomes at the old commit, by :func:`key_of` of the row.
        texts: what is said of each kind of situations.
        seconds: that the rows took together.
    """
    lines = [INTRODUCTION.strip(), '', *summary(rows, before)]
    lines += [AGAIN.format(minutes=max(seconds / 60, 1)).strip('\n')]
    for kind in dict.fromkeys(row['kind'] for row in rows):
        lines += ['', f'## {kind}', '', textwrap.fill(texts[kind], 100), '']
        lines += [f'| situation | through | at {BEFORE} | now |', '|---|---|---|---|']
        for row in rows:
            if row['kind'] == kind:
                old = before.get(key_of(row))
                lines.append(
                    '| '
                    + ' | '.join([named(row), f'`{row["route"]}`', told(old), told(row)])
                    + ' |'
                )
    return '\n'.join(lines) + '\n'


def key_of(row: dict) -> str:
    return f'{row["kind"]}: {row["name"]} [{row["route"]}]'


def summary(rows: Sequence[dict], before: dict) -> list[str]:
    now = Counter(row['outcome'] for row in rows)
    old = Counter(before[key_of(row)]['outcome'] for row in rows if key_of(row) in before)
    lines = [f'| {len(rows)} situations | at {BEFORE} | now |', '|---|---|---|']
    lines += [f'| {word} | {old[kind]} | {now[kind]} |' for kind, word in WORDS.items()]
    return [*lines, '']


def named(row: dict) -> str:
    name = cell(row['name'])
    return f'[{name}]({row["report"]})' if row['report'] else name


def told(row: dict | None) -> str:
    if row is None:
        return ''
    word = WORDS[row['outcome']]
    word = f'**{word}**' if row['outcome'] not in ('right', 'told') else f'*{word}*'
    return f'{word}: {cell(row["text"])}'


def cell(text: str) -> str:
    """Text for a cell of a Markdown table, in which no character has a meaning of its own."""
    escaped = html.escape(text, quote=False)
    for character in '\\`*_[]|':
        escaped = escaped.replace(character, f'\\{character}')
    return escaped
