"""Bilinear resizing of slot logits from their grid to any rows of the output, as weighted sums of grid points.

Three frames follow each other: the grid of the prediction, the padded network input and the original image. All resizing is linear, so the
steps between them are one sum of a few grid points a pixel, and no picture in between is made.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Geometry:
    """Sizes (height, width) of one image in every frame. ``image`` stands in the top left corner of the padded ``input``."""

    grid: tuple[int, int]
    input: tuple[int, int]
    image: tuple[int, int]
    output: tuple[int, int]
    align_corners: bool


def _two_taps(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Positions (..., ) on an axis of ``size`` points -> indices and weights (..., 2) of the neighbors."""
    position = position.clamp(0, size - 1)
    low = position.floor().clamp(max=max(size - 2, 0))
    fraction = position - low
    index = torch.stack([low, (low + 1).clamp(max=size - 1)], -1).long()
    return index, torch.stack([1 - fraction, fraction], -1)


def _grid_position(pixel: Tensor, padded: int, grid: int, align_corners: bool) -> Tensor:
    """Where a pixel of the padded input lies on the grid of the prediction."""
    if align_corners:
        return pixel * ((grid - 1) / max(padded - 1, 1))
    return (pixel + 0.5) * (grid / padded) - 0.5


def axis_taps(
    *, output: int, image: int, padded: int, grid: int, align_corners: bool, two_step: bool
) -> tuple[Tensor, Tensor]:
    """Grid indices (O, T) and weights (O, T) float64 that make each of the ``output`` pixels of one axis.

    One step (T = 2): the center of the output pixel is mapped into the image, clamped to it, and from there onto the grid. Equal to
    ``F.interpolate`` where image, padded input and output have one size. Two steps (T = 4), as the public kMaX-DeepLab code for PyTorch: to
    the padded input size, cut to the image, to the output size, the same ``align_corners`` each time.
    """
    pixel = torch.arange(output, dtype=torch.float64)
    if not two_step:
        pixel = ((pixel + 0.5) * (image / output) - 0.5).clamp(0, image - 1)
        return _two_taps(_grid_position(pixel, padded, grid, align_corners), grid)
    pixel = (
        pixel * ((image - 1) / max(output - 1, 1))
        if align_corners
        else (pixel + 0.5) * (image / output) - 0.5
    )
    pixel, outer = _two_taps(pixel, image)  # (O, 2)
    index, inner = _two_taps(
        _grid_position(pixel.double(), padded, grid, align_corners), grid
    )  # (O, 2, 2)
    return index.flatten(1), (outer[..., None] * inner).flatten(1)


class RowResizer:
    """Resizes a table of grid points (h*w, channels) to the output, ``rows`` rows of it at a time.

    Each pass, vertical then horizontal, is an embedding bag: a fused gather-multiply-add with contiguous channels. The indices of the
    horizontal pass are the same for every chunk.
    """

    def __init__(
        self, geometry: Geometry, *, rows: int, two_step: bool, device: torch.device
    ) -> None:
        taps = [
            axis_taps(
                output=o,
                image=i,
                padded=p,
                grid=g,
                align_corners=geometry.align_corners,
                two_step=two_step,
            )
            for o, i, p, g in zip(geometry.output, geometry.image, geometry.input, geometry.grid)
        ]
        (self._rows, self._row_weights), (columns, column_weights) = [
            (index.to(device, torch.int32), weight.to(device, torch.float32))
            for index, weight in taps
        ]
        self._grid, self._width = geometry.grid, geometry.output[1]
        first = (
            torch.arange(rows, dtype=torch.int32, device=device)[:, None, None] * geometry.grid[1]
        )
        self._columns = (first + columns).flatten()  # (rows*W_o*T)
        self._column_weights = column_weights.flatten().repeat(rows)
        # where each pixel's bag begins
        self._bags = (
            torch.arange(rows * self._width, dtype=torch.int32, device=device) * columns.shape[1]
        )
        self._taps = columns.shape[1]

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
