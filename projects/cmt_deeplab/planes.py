"""Planes (H, W) of segment ids or indices, by their runs of equal pixels.

Such planes are piecewise constant. What depends on their values only is worked out on the runs,
some thousands, rather than on hundreds of thousands of pixels. This module imports no torch.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

HASH_BITS = 16, 20  # of the table, and of that for values of which two share a slot of the first
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio (Fibonacci hashing)


def runs(*planes: np.ndarray) -> list[np.ndarray]:
    """The runs of pixels in row-major order along which none of the planes (H, W) changes.

    Returns the values (M,) of each plane and, at the end, the lengths (M,) of the runs. A run may
    go on in the next row.
    """
    flat = [plane.reshape(-1) for plane in planes]
    size = flat[0].size
    changes = reduce(np.logical_or, (values[1:] != values[:-1] for values in flat))
    starts = np.append(0, np.flatnonzero(changes) + 1)[:size]  # none in an empty plane
    return [*(values[starts] for values in flat), np.diff(starts, append=size)]


def positions(wanted: np.ndarray | int, ids: np.ndarray) -> np.ndarray:
    """Where each wanted id stands in the ascending ``ids``; ``len(ids)`` for one that is absent."""
    position = np.searchsorted(ids, wanted)
    # The number at the end keeps the positions valid. What it is does not matter.
    return np.where(np.append(ids, 0)[position] == wanted, position, len(ids))


def ranked(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values (G,) int64, ascending, and the place (N,) of each value among them.

    Few values of any size fit into a hash table, which is several times as fast as sorting.
    """
    values = values.astype(np.int64)
    offsets = values - values.min(initial=0)
    largest = offsets.max(initial=0)
    for bits in HASH_BITS:
        slots = offsets
        if largest >> bits:
            slots = (values.view(np.uint64) * HASH_FACTOR) >> np.uint64(64 - bits)
        table, used = np.empty(1 << bits, np.int64), np.zeros(1 << bits, bool)
        table[slots], used[slots] = values, True
        if np.array_equal(table[slots], values):  # no two values share a slot
            used = np.flatnonzero(used)
            used = used[np.argsort(table[used])]
            distinct = table[used]
            table[used] = np.arange(len(used))
            return distinct, table[slots]
    return np.unique(values, return_inverse=True)


class PlaneRuns(NamedTuple):
    """A plane (H, W) as its distinct values and its runs: what is looked up, and kept in files."""

    values: np.ndarray  # (G,) the distinct ones, ascending
    places: np.ndarray  # (M,) that of each run's value among them
    lengths: np.ndarray  # (M,) of the runs
    shape: Sequence[int]

    @classmethod
    def of(cls, plane: np.ndarray) -> 'PlaneRuns':
        values, lengths = runs(plane)
        return cls(*ranked(values), lengths, plane.shape)

    def plane(self, values: np.ndarray) -> np.ndarray:
        """The plane (H, W) with these values (G,) in place of the distinct ones."""
        return np.repeat(values[self.places], self.lengths).reshape(self.shape)
