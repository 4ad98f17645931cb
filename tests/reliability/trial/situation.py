"""One row of the table: a situation of a user, the route that leads to it, and what is right."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TRAIN, TEST, EVALUATE = 'tools/train.py', 'tools/test.py', 'evaluate_panoptic.py'
OPTIONS = 'tools/train.py --cfg-options'
DETECTOR, INFERENCER = 'inference_detector', 'DetInferencer'
SITUATIONS: list['Situation'] = []
TEXTS: dict[str, str] = {}  # what the page says of each kind


@dataclass(frozen=True)
class Situation:
    """What a user does, and what may come of it.

    Attributes:
        kind: the section of the table.
        name: the situation in plain English.
        route: the command or function that the user calls.
        act: sets the situation up in a :class:`~trial.place.Place` and returns what came out, a
            :class:`Found` or a :class:`Wrong`. It may also end as the route ends.
        told: a regular expression that the sentence must match where the user is told; None where
            a refusal is wrong, since the user asks for what is right.
        word: a regular expression that the output must match where the figure is right and needs
            a word besides.
        late: the sentence may come after the training began.
        report: the address of the public report that the situation comes from.
        part: the part of the page: 1 for situations, 2 for faults. ``act`` of a fault may also be
            a generator of the outcomes of its tries.
    """

    kind: str
    name: str
    route: str
    act: Callable
    told: str | None = None
    word: str | None = None
    late: bool = False
    report: str = ''
    part: int = 1

    @property
    def key(self) -> str:
        return f'{self.kind}: {self.name} [{self.route}]'

    @property
    def cheap(self) -> bool:
        """Whether it takes a fraction of a second and no trained weights."""
        return self.route.startswith(EVALUATE)


@dataclass(frozen=True)
class Found:
    """A value that came out, and the right one, which the situation has computed itself."""

    value: Any
    right: Any
    what: str
    tolerance: float = 0.01

    @property
    def is_right(self) -> bool:
        try:
            return bool(abs(self.value - self.right) <= self.tolerance)
        except TypeError:
            return self.value == self.right


@dataclass(frozen=True)
class Wrong:
    """What came out where nothing but a sentence is right."""

    text: str


def section(kind: str, text: str, **shared: Any) -> Callable:
    """A decorator that makes functions situations of one kind, of which the page says ``text``."""
    TEXTS[kind] = text

    def situation(name: str, route: str, **rest: Any) -> Callable:
        def register(act: Callable) -> Callable:
            SITUATIONS.append(Situation(kind, name, route, act, **shared | rest))
            return act

        return register

    return situation


def faults(kind: str, text: str) -> Callable:
    """As :func:`section`, for the second part of the page: a fault may come while training runs."""
    return section(kind, text, part=2, late=True)
