"""One row of the table: a leaf that swaps a part, and what its run has to show."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A swap, as a user writes it.

    Attributes:
        section: of the table.
        part: what is swapped in.
        leaf: the lines of the leaf config after ``_base_``, or a whole config where ``base`` is
            None.
        base: file name in ``bases/``, without its ending.
        learns: paths of modules of the model that must have a gradient.
        changes: what must differ from the run of the base, 'output' (of the network after two
            iterations), 'map' (the predicted segments) or 'metrics' (names or values);
            'nothing' demands an equal output.
        refused: a part of the sentence with which the swap is refused, or None where it works.
        late: the sentence may come in the first iterations or at the first validation.
        shows: further checks, each a function of the :class:`Evidence` and the summary of the
            base that returns what is wrong, or None; :func:`says` marks them.
        unused: parts of names of parameters that get no gradient by their nature: they lie behind
            the last feature that is read, or change nothing, as the bias before a softmax.
        frozen: paths of modules that must not have a gradient.
        arguments: of tools/train.py.
        colors: the transforms change colors, so that coordinates cannot be read off the image.
        tolerance: the share of pixels whose plane may disagree with the image.
        mixed: the share of the variance of the color that may lie within segments.
    """

    section: str
    part: str
    leaf: str
    base: str | None = 'tiny'
    learns: tuple[str, ...] = ('backbone', 'panoptic_head')
    changes: str = 'output'
    refused: str | None = None
    late: bool = False
    shows: tuple[Callable, ...] = ()
    unused: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    colors: bool = False
    tolerance: float = 0.03
    mixed: float = 0.05


def says(text: str) -> Callable[[Callable], Callable]:
    """A decorator of a further check: ``text`` is what the table says where it passes."""

    def decorate(check: Callable) -> Callable:
        check.text = text
        return check

    return decorate


@dataclass
class Outcome:
    """What became of a row.

    ``kind`` is 'works', 'refused' (ended in a sentence before the first iteration) or 'fault';
    ``text`` is the sentence, or what is wrong.
    """

    kind: str
    text: str = ''
    evidence: dict = field(default_factory=dict)
    seconds: float = 0.0
