"""Planes (H, W) of segment ids or indices, by their runs of equal pixels.

Such planes are piecewise constant. What depends on their values only is worked out on the runs,
some thousands, rather than on hundreds of thousands of pixels. This module imports no torch.
"""

from functools import reduce

import numpy as np

HASH_BITS = 13
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
    slots = values - values.min(initial=0)
    if slots.max(initial=0) >> HASH_BITS:
        slots = (values.view(np.uint64) * HASH_FACTOR) >> np.uint64(64 - HASH_BITS)
    table = np.zeros((2, 1 << HASH_BITS), np.int64)  # the value in each slot, and its place
    table[0, slots], table[1, slots] = values, 1
    if not np.array_equal(table[0, slots], values):  # two values share a slot
        return np.unique(values, return_inverse=True)
    used = np.flatnonzero(table[1])
    used = used[np.argsort(table[0, used])]
    table[1, used] = np.arange(len(used))
    return table[0, used], table[1, slots]
