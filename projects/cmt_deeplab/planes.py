"""Planes (H, W) of segment ids or indices, by their runs of equal pixels.

Such planes are piecewise constant. What depends on their values only is worked out on the runs,
some thousands, rather than on hundreds of thousands of pixels. This module imports no torch.
"""

from functools import reduce

import numpy as np


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

    Where the range of the values is small, a table is several times as fast as sorting.
    """
    values = values.astype(np.int64)
    low, high = values.min(initial=0), values.max(initial=0)
    if high - low >= 1 << 18:
        return np.unique(values, return_inverse=True)
    present = np.bincount(values - low) > 0
    return np.flatnonzero(present) + low, (np.cumsum(present) - 1)[values - low]
