"""Judges what became of a situation by its exit code, its output and its value."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .situation import Found, Situation, Wrong

GOOD = ('right', 'told')
WORDS = {
    'right': 'right',
    'told': 'told',
    'silently wrong': 'silently wrong',
    'trace': 'stack trace',
    'misleading': 'misleading sentence',
    'late': 'told late',
    'no end': 'no end',
    'lost': 'lost',
    'ran': 'foreign code ran',
}
LONGEST_TRACE = 240  # characters
MESSAGES = 2  # of a fault that are shown


@dataclass
class Ended:
    """How a situation ended; ``steps`` of training were taken, and ``memory`` in MiB at most."""

    steps: int = 0
    memory: int = 0
    found: Any = None
    exit_code: Any = None
    error: BaseException | None = None
    output: str = ''
    errors: str = ''


@dataclass
class Outcome:
    """What became of a situation.

    ``kind`` is one of ``right``, ``told``, ``silently wrong``, ``trace``, ``misleading`` (a
    sentence that does not name what it has to, or a refusal of what is right), ``late`` (told after
    training began) and ``no end``. A fault may also come out ``lost`` (something that was whole is
    gone, or the run is no longer the same) and ``ran`` (foreign code ran).
    """

    kind: str
    text: str


def judge(situation: Situation, ended: Ended) -> Outcome:
    if ended.error is not None and not is_user_error(ended.error):
        error = f'{type(ended.error).__name__}: {ended.error}'
        return Outcome('trace', last_line(error))
    if ended.error is not None:
        return told(situation, ended, str(ended.error))
    if ended.exit_code not in (None, 0):
        if 'Traceback (most recent call last)' in ended.errors:
            return Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
        return told(situation, ended, sentence(ended))
    found = ended.found
    if isinstance(found, Wrong):
        return Outcome('silently wrong', found.text)
    if not isinstance(found, Found):
        return Outcome('silently wrong', f'ended without a figure ({found!r})')
    value, right = (shown(v) for v in (found.value, found.right))
    if not found.is_right:
        return Outcome('silently wrong', f'{found.what} {value} where {right} is right')
    text = f'{found.what} {value}'
    if situation.word is not None:
        line = next((x for x in lines(ended) if re.search(situation.word, x)), None)
        if line is None:
            return Outcome('silently wrong', f'{text}, without a word')
        text += f', and the output says: "{line}"'
    return Outcome('right', text)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several tries: the most frequent one of those that are bad, if any.

    Its text names each kind of bad outcome once, else the most frequent messages, without those
    that differ in numbers alone.
    """
    bad = [outcome for outcome in outcomes if outcome.kind not in GOOD]
    if not bad:
        forms = Counter(re.sub(r'\d+', '', outcome.text) for outcome in outcomes if outcome.text)
        shown = [form for form, _ in forms.most_common(MESSAGES)]
        texts = {re.sub(r'\d+', '', outcome.text): outcome.text for outcome in outcomes}
        is_told = any(outcome.kind == 'told' for outcome in outcomes)
        text = ' / '.join(texts[form] for form in shown)
        return Outcome('told' if is_told else 'right', text)
    kinds = Counter(outcome.kind for outcome in bad).most_common()
    examples = {outcome.kind: outcome.text for outcome in reversed(bad)}
    first, *others = [f'in {number} of {len(outcomes)}: {examples[kind]}' for kind, number in kinds]
    others = [f'{WORDS[kind]} {text}' for (kind, _), text in zip(kinds[1:], others)]
    return Outcome(kinds[0][0], '; '.join([first, *others]))


def told(situation: Situation, ended: Ended, text: str) -> Outcome:
    text = one_line(text)
    if situation.told is None or not re.search(situation.told, text):
        return Outcome('misleading', text or 'ends without a sentence')
    if ended.steps and not situation.late:
        return Outcome('late', f'after {ended.steps} training steps: {text}')
    return Outcome('told', text)


def is_user_error(error: BaseException) -> bool:
    """Whether a function of Python raised what this package raises for a mistake of the user."""
    return any(kind.__name__ == 'UserError' for kind in type(error).__mro__)


def sentence(ended: Ended) -> str:
    """What a command line says last: its ``Error: ...``, else its last line."""
    if isinstance(ended.exit_code, str):
        return ended.exit_code
    said = re.findall(r'^Error: (.*)$', ended.errors, re.MULTILINE)
    return said[-1] if said else (ended.errors.strip().splitlines() or [''])[-1]


def lines(ended: Ended) -> list[str]:
    """The lines that a word may stand in: no config, no losses, no time at the begin of a line."""
    text = re.sub(r'- INFO - Config:\n.*?(?=^\d\d/\d\d )', '', ended.output, flags=re.M | re.S)
    prefix = r'^\d\d/\d\d [\d:]+ - mmengine - '
    all_lines = (text + ended.errors).splitlines()
    return [re.sub(prefix, '', line.strip()) for line in all_lines if 'Iter(' not in line]


def shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f'{value:.2f}' if abs(value) >= 0.1 else f'{value:.3g}'


def last_line(text: str) -> str:
    """The last line of a stack trace, without the folders of this machine and not at any length."""
    text = re.sub(r'/([\w.@+-]+/)+', '', one_line(text))
    return text if len(text) <= LONGEST_TRACE else f'{text[:LONGEST_TRACE]} ...'


def one_line(text: str) -> str:
    return re.sub(r'\s+', ' ', text).strip()
