"""What a table of name pairs is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Row(NamedTuple):
    """One module: its name in the checkpoint, its name here, and what follows these for each of its tensors, ours to theirs.

    A tensor that our network has not is no pair: the same row serves a block with and without shortcut. ``arrange`` brings a tensor into
    our order where that is more than axes of length 1.
    """

    source: str
    target: str
    tensors: dict[str, str]
    arrange: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Part:
    """Rows that a checkpoint has all of or none of. ``unfit`` says why this network cannot take them and what to set, '' where it can."""

    name: str
    rows: list[Row]
    required: bool = False
    unfit: str = ''


def under(ours: str, theirs: str, tensors: dict[str, str]) -> dict[str, str]:
    """The pairs of ``tensors`` with a prefix on either side."""
    return {f'{ours}{name}': f'{theirs}{their_name}' for name, their_name in tensors.items()}
