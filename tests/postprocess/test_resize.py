"""The composed resize against F.interpolate and against sampling pixel by pixel."""

import pytest
import torch
from cmt_deeplab.postprocess.resize import Geometry, RowResizer
from slow_merge import slow_resize
from torch.nn import functional as F


def resize(logits, *, two_step=False, rows=5, **sizes):
    geometry = Geometry(
        grid=tuple(logits.shape[1:]),
        input=sizes['input_size'],
        image=sizes['image_size'],
        output=sizes['output_size'],
        align_corners=sizes['align_corners'],
        two_step=two_step,
    )
    resizer = RowResizer(geometry, rows=rows, device=torch.device('cpu'))
    table = logits.flatten(1).t().contiguous()
    height, width = geometry.output
    parts = [resizer(table, start, min(start + rows, height)) for start in range(0, height, rows)]
    return torch.cat(parts).t().view(-1, height, width)


@pytest.mark.parametrize(
    'grid, size, align_corners',
    [
        ((17, 25), (65, 97), True),
        ((16, 24), (64, 96), False),
        ((33, 33), (65, 65), True),
        ((16, 8), (32, 16), False),
    ],
)
@pytest.mark.parametrize('two_step', [False, True])
def test_one_size_everywhere_equals_interpolate(grid, size, align_corners, two_step):
    logits = torch.randn(6, *grid, generator=torch.Generator().manual_seed(0)) * 5
    expected = F.interpolate(logits[None], size=size, mode='bilinear', align_corners=align_corners)[
        0
    ]
    got = resize(
        logits,
        input_size=size,
        image_size=size,
        output_size=size,
        align_corners=align_corners,
        two_step=two_step,
    )
    assert (got - expected).abs().max() < 1e-5


@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize(
    'image, output',
    [((50, 65), (77, 100)), ((65, 31), (40, 19)), ((64, 64), (1, 3)), ((1, 9), (5, 45))],
)
@pytest.mark.parametrize('two_step', [False, True])
def test_padding_and_any_output_size(align_corners, image, output, two_step):
    side = 65 if align_corners else 96
    logits = (
        torch.randn(
            3,
            17 if align_corners else 24,
            17 if align_corners else 24,
            generator=torch.Generator().manual_seed(1),
        )
        * 5
    )
    sizes = dict(
        input_size=(side, side), image_size=image, output_size=output, align_corners=align_corners
    )
    got, expected = (
        resize(logits, two_step=two_step, **sizes),
        slow_resize(logits, two_step=two_step, **sizes),
    )
    assert (got - expected).abs().max() < 1e-4 if two_step else (got - expected).abs().max() < 3e-5


def test_padding_never_shows_where_corners_are_aligned():
    logits = torch.zeros(1, 17, 17)
    logits[:, 9:] = logits[:, :, 9:] = 1e6  # the image ends at pixel 32, grid point 8
    got = resize(
        logits, input_size=(65, 65), image_size=(33, 33), output_size=(50, 70), align_corners=True
    )
    assert got.abs().max() == 0
