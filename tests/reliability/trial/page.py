"""Writes docs/reliability.md from the situations themselves."""

import re
import textwrap
from collections.abc import Sequence

from .situation import SITUATIONS, TEXTS, Situation

WIDTH = 100  # columns of a line
PARTS = {
    1: """
# What happens when something is unusual or wrong

People who build panoptic data, train, evaluate and deploy find themselves in the situations of this
page. Each one is set up by a script, with small generated data and a small model, through the
commands and functions that are named with it. The script judges by itself, from the exit code, the
output, and a value that it computes in another way. What comes of a situation is one of these:

* **right**: the result is the right one, and where it needs a word, the output has that word.
* **told**: the result is the right one, or the program stops with one sentence that names the file,
  the key or the value, and the remedy. It comes before training begins.

A link leads to the public report from which a situation comes. The sentences themselves are printed
by this command, which tries the rows whose section, name or program match, or all in about half an
hour on two cores:

    python tests/reliability/try_all.py --rows 'Image files'

`pytest -m slow tests/reliability` fails where anything else comes of any of them, and the tests of
every day try those that take a moment. A new situation is a function in
`tests/reliability/situations`, and a new fault one in `tests/reliability/faults`.
""",
    2: """
# Nothing lost, no one let in

The faults of this part are set up again and again by the same script, which looks at what is left:
at the files, at the losses and weights of a resumed run, at values computed in another way, and for
a file that foreign code would have written. Nothing is lost or changed in any try, no foreign code
runs, and what has to be told is told in a sentence.
""",
}


def page() -> str:
    lines = []
    for part, introduction in PARTS.items():
        lines += ['', *introduction.strip().split('\n')]
        of_part = [situation for situation in SITUATIONS if situation.part == part]
        for kind in dict.fromkeys(situation.kind for situation in of_part):
            of_kind = [situation for situation in of_part if situation.kind == kind]
            lines += ['', f'## {kind}', '', *filled(TEXTS[kind]), '']
            told = [situation for situation in of_kind if situation.told is not None]
            right = [situation for situation in of_kind if situation.told is None]
            lines += listed('Nothing is lost' if part == 2 else 'Right', right)
            lines += listed('Told', told)
    return '\n'.join(lines[1:]) + '\n'


def listed(head: str, situations: Sequence[Situation]) -> list[str]:
    """The programs and the names of situations as an entry of a list, each of them once."""
    routes = dict.fromkeys(f'`{situation.route}`' for situation in situations)
    names = dict.fromkeys(map(named, situations))
    return filled(f'* **{head}** ({", ".join(routes)}): {" · ".join(names)}.') if names else []


def named(situation: Situation) -> str:
    name = re.sub(r'(?<!\w)_|_(?!\w)', r'\_', situation.name)
    return f'[{name}]({situation.report})' if situation.report else name


def filled(text: str) -> list[str]:
    options = dict(break_on_hyphens=False, break_long_words=False)
    return textwrap.wrap(text, WIDTH, subsequent_indent='  ' * text.startswith('*'), **options)
