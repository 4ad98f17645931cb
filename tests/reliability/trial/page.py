"""Writes docs/reliability.md from the outcomes at the old commit and now."""

import html
import itertools
import textwrap
from collections import Counter
from collections.abc import Sequence

from .judge import GOOD, WORDS

BEFORE, BEFORE_2 = '4eceedf', '29e466b'  # of the two parts
WIDTH = 100  # columns of a line
NOTHING = 'nothing'  # is lost
HEADS = {
    1: f'<tr><th>situation</th><th>through</th><th>at {BEFORE}</th><th>now</th></tr>',
    2: f'<tr><th>fault</th><th>tries</th><th>at {BEFORE_2}</th><th>lost now</th>'
    '<th>message now</th></tr>',
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

The second part, [Nothing lost, no one let in](#nothing-lost-no-one-let-in), tries faults of
machines, files and people on it.
"""
SECOND = f"""
# Nothing lost, no one let in

Each fault of this part was set up again and again by the same script, at commit `{BEFORE_2}` and
with the code beside this page, through the command or function below its name. The script looks at
what is left: at the files, at the losses and weights of a resumed run, at values computed in
another way, and for a file that foreign code would have written. Besides the words of the first
part, it says of a fault:

* **nothing**: nothing was lost or changed in any try, and no foreign code ran. Where the fault
  needs a word, the message has it.
* **lost**: something that was whole is gone, or the resumed run is not the same as an unbroken one.
* **foreign code ran**: a file made the program do what its author wanted.

Where several tries of a fault came out in different ways, the table says how many did in which.
"""
AGAIN = """
To make this page again, in about a quarter of an hour on two cores:

    python tests/reliability/make_table.py --markdown docs/reliability.md

`--before CHECKOUT --part 1` (or 2) also sets every situation of that part up in a checkout of its
old commit and stores what came of it in `tests/reliability/before.json`; without it the stored
outcomes are taken. `--rows PATTERN` tries single rows. `pytest -m slow tests/reliability` fails
where a row is neither right nor told. A new situation is a function in
`tests/reliability/situations`, and a new fault one in `tests/reliability/faults`.
"""


def page(rows: Sequence[dict], before: dict, texts: dict[str, str]) -> str:
    """The page.

    Args:
        rows: the outcomes now, each with kind, name, route and report of its situation.
        before: the outcomes at the old commit, by :func:`key_of` of the row.
        texts: what is said of each kind of situations.
    """
    parts = [[row for row in rows if row['part'] == part] for part in (1, 2)]
    lines = [INTRODUCTION.strip(), '', *summary(parts[0], before, BEFORE, 'situations')]
    lines += [AGAIN.strip(), *sections(parts[0], before, texts)]
    lines += ['', SECOND.strip(), '', *summary(parts[1], before, BEFORE_2, 'faults')]
    tries = sum(row['tries'] for row in parts[1])
    lines += [f'There are {tries} tries in all.', *sections(parts[1], before, texts)]
    return '\n'.join(lines) + '\n'


def sections(rows: Sequence[dict], before: dict, texts: dict[str, str]) -> list[str]:
    lines = []
    for kind in dict.fromkeys(row['kind'] for row in rows):
        of_kind = [row for row in rows if row['kind'] == kind]
        head = HEADS[of_kind[0]['part']]
        lines += ['', f'## {kind}', '', textwrap.fill(texts[kind], WIDTH), '', '<table>', head]
        for row in of_kind:
            lines += row_lines(row, before.get(key_of(row)))
        lines.append('</table>')
    return lines


def key_of(row: dict) -> str:
    return f'{row["kind"]}: {row["name"]} [{row["route"]}]'


def word_of(row: dict, part: int) -> str:
    return NOTHING if part == 2 and row['outcome'] in GOOD else WORDS[row['outcome']]


def summary(rows: Sequence[dict], before: dict, commit: str, name: str) -> list[str]:
    now = Counter(word_of(row, row['part']) for row in rows)
    olds = ((row['part'], before.get(key_of(row))) for row in rows)
    old = Counter(word_of(found, part) for part, found in olds if found)
    lines = [f'| {len(rows)} {name} | at {commit} | now |', '|---|---|---|']
    for word in [NOTHING, *WORDS.values()]:
        if old[word] or now[word]:
            lines.append(f'| {word} | {old[word]} | {now[word]} |')
    return [*lines, '']


def row_lines(row: dict, old: dict | None) -> list[str]:
    """A row of the table, broken into lines of the repository's width."""
    name = html.escape(row['name'], quote=False)
    if row['report']:
        name = f'<a href="{row["report"]}">{name}</a>'
    same = old == dict(outcome=row['outcome'], text=row['text'])
    route = f'<code>{html.escape(row["route"])}</code>'
    if row['part'] == 1:
        now = f'<i>{WORDS[row["outcome"]]}</i>: the same' if same else came_of(row)
        cells = name, route, came_of(old), now
    else:
        then = 'the same' if same else came_of(old, part=2)
        lost, message = came_of(row, part=2), ''
        if row['outcome'] in GOOD:
            lost, message = NOTHING, html.escape(row['text'], quote=False)
        cells = f'{name}<br>{route}', str(row['tries']), then, lost, message
    wrapped = (textwrap.wrap(f'<td>{cell}</td>', WIDTH, break_on_hyphens=False) for cell in cells)
    return ['<tr>', *itertools.chain(*wrapped), '</tr>']


def came_of(row: dict | None, part: int = 1) -> str:
    if row is None:
        return ''
    emphasis = 'i' if row['outcome'] in GOOD else 'b'
    text = html.escape(row['text'], quote=False)
    return f'<{emphasis}>{word_of(row, part)}</{emphasis}>' + (f': {text}' if text else '')
