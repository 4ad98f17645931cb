"""Bilinear resizing of mask logits from their grid to any rows of the output.

Three frames follow each other: the grid of the prediction, the padded network input, and the
original image. All resizing is linear, so the steps between them are one weighted sum of a few grid
points per pixel, and no picture in between is made.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_deeplab.geometry import rescaled_pixels


@dataclass(frozen=True)
class Geometry:
    """Sizes (height, width) of one image in every frame, and how to get from one to the next.

    ``image`` lies in the top left corner of the padded ``input``. For ``two_step`` see
    :func:`axis_taps`.
    """

    grid: tuple[int, int]
    input: tuple[int, int]
    image: tuple[int, int]
    output: tuple[int, int]
    align_corners: bool
    two_step: bool = False


def _two_taps(position: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbors of positions (...) on an axis of ``size`` points: indices and weights (..., 2)."""
    position = position.clip(0, size - 1)
    low = np.floor(position).clip(max=max(size - 2, 0))
    fraction = position - low
    index = np.stack([low, (low + 1).clip(max=size - 1)], -1).astype(np.int32)
    return index, np.stack([1 - fraction, fraction], -1)


def axis_taps(geometry: Geometry, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Grid points that make each of the output pixels along one axis.

    * One step (T = 2): the center of the output pixel is moved into the image, clamped to it, and
      from there moved onto the grid. This equals ``F.interpolate`` where image, padded input and
      output have one size.
    * Two steps (T = 4), as in kmax-deeplab: a resize to the padded input, a cut to the image, and a
      resize to the output, with the same ``align_corners`` each time.

    Returns:
        Indices (O, T) int32 and weights (O, T) float64.
    """
    output, image = geometry.output[axis], geometry.image[axis]
    padded, grid = geometry.input[axis], geometry.grid[axis]
    corners = geometry.align_corners
    pixel = np.arange(output, dtype=np.float64)
    if not geometry.two_step:
        pixel = rescaled_pixels(pixel, output, image, align_corners=False).clip(0, image - 1)
        return _two_taps(rescaled_pixels(pixel, padded, grid, align_corners=corners), grid)
    pixel, outer = _two_taps(rescaled_pixels(pixel, output, image, align_corners=corners), image)
    on_grid = rescaled_pixels(pixel, padded, grid, align_corners=corners)
    index, inner = _two_taps(on_grid, grid)  # (O, 2, 2)
    return index.reshape(output, 4), (outer[..., None] * inner).reshape(output, 4)


class RowResizer:
    """Resizes a table of grid points (h*w, channels) to the output, up to ``rows`` rows at a time.

    Each pass, vertical then horizontal, is an embedding bag: a fused gather-multiply-add with
    contiguous channels. The indices of the horizontal pass are the same for every chunk. All values
    are multiplied by ``factor``.
    """

    def __init__(
        self, geometry: Geometry, *, rows: int, device: torch.device, factor: float = 1.0
    ) -> None:
        (self._rows, self._row_weights), (columns, column_weights) = (
            tuple(torch.from_numpy(x).to(device) for x in (index, weight.astype(np.float32)))
            for index, weight in (axis_taps(geometry, axis) for axis in (0, 1))
        )
        self._row_weights *= factor
        self._grid, self._width = geometry.grid, geometry.output[1]
        self._taps = columns.shape[1]
        first = torch.arange(rows, dtype=torch.int32, device=device) * geometry.grid[1]
        self._columns = (first[:, None, None] + columns).flatten()  # (rows*W_o*T)
        self._column_weights = column_weights.flatten().repeat(rows)
        # Where the bag of each pixel begins.
        bags = torch.arange(rows * self._width, dtype=torch.int32, device=device)
        self._bags = bags * self._taps

    def __call__(self, table: Tensor, start: int, stop: int) -> Tensor:
        """Output rows ``start`` to ``stop`` as (pixels, channels), row by row."""
        lines = F.embedding_bag(
            self._rows[start:stop],
            table.view(self._grid[0], -1),
            mode='sum',
            per_sample_weights=self._row_weights[start:stop],
        )
        pixels = (stop - start) * self._width
        return F.embedding_bag(
            self._columns[: pixels * self._taps],
            lines.view(-1, table.shape[1]),
            self._bags[:pixels],
            mode='sum',
            per_sample_weights=self._column_weights[: pixels * self._taps],
        )
