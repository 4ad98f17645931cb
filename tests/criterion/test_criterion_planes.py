"""Planes at a stride, segment sums, reference points and pixel sampling."""

import criterion_slow_reference as slow
import pytest
import torch
from cmt_deeplab.criterion import loss_input, segment_reference_points
from cmt_deeplab.criterion.discrimination_losses import similarity_logsumexp
from cmt_deeplab.criterion.loss_input import sample_pixels
from cmt_deeplab.criterion.targets import SegmentPlanes, buckets, segment_sum
from cmt_deeplab.geometry import plane_at_stride
from cmt_deeplab.structures import PanopticTarget


@pytest.mark.parametrize(
    'full, size, start, stride',
    [
        ((65, 33), (17, 9), 0, 4),
        ((64, 32), (16, 8), 2, 4),
        ((64, 96), (2, 3), 16, 32),
        ((65, 97), (3, 4), 0, 32),
        ((33, 33), (33, 33), 0, 1),
    ],
)
def test_plane_at_stride(full, size, start, stride):
    index = torch.arange(full[0] * full[1]).view(full)
    small = plane_at_stride(index, size)
    assert small.shape == size
    for i in range(size[0]):
        for j in range(size[1]):
            assert small[i, j] == index[start + i * stride, start + j * stride]


@pytest.mark.parametrize(
    'full, size',
    [
        ((65, 65), (16, 16)),
        ((64, 64), (17, 17)),
        ((64, 64), (16, 8)),
        ((65, 64), (17, 16)),
        ((16, 16), (32, 32)),
        ((65, 65), (1, 1)),
    ],
)
def test_sizes_that_do_not_fit_are_named(full, size):
    with pytest.raises(
        ValueError,
        match=f'{size[0]}x{size[1]} pixels does not fit the {full[0]}x{full[1]} index plane.*32k',
    ):
        plane_at_stride(torch.zeros(full), size)


def test_segment_sum_and_its_gradient():
    segment = torch.randint(0, 7, (2, 300))
    values = torch.rand(2, 3, 300, dtype=torch.float64, requires_grad=True)
    sums = segment_sum(values, buckets(segment), 7)
    for k in range(8):
        torch.testing.assert_close(sums[..., k], (values * (segment == k)[:, None]).sum(-1))
    assert torch.autograd.gradcheck(
        lambda v: segment_sum(v, buckets(segment), 7), (values,), fast_mode=True
    )


@pytest.mark.parametrize('at_once', [1, 100, 10**6])
def test_similarity_logsumexp_and_its_gradient(at_once, monkeypatch):
    monkeypatch.setitem(loss_input.AT_ONCE, 'cpu', at_once)  # blocks of 1, 4 and 11 rows
    feature = torch.randn(2, 11, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.stack([torch.arange(11) % 3 != 1, torch.arange(11) < 5])

    def fast(f):
        return similarity_logsumexp(f, valid.double()[..., None], 0.3)

    for value, f, v in zip(fast(feature), feature, valid):
        torch.testing.assert_close(value, (f[v] @ f[v].t() / 0.3).logsumexp(1).sum())
    assert torch.autograd.gradcheck(fast, (feature,))
    valid = torch.zeros_like(valid)
    nothing = fast(feature)
    assert (nothing == 0).all()
    assert (torch.autograd.grad(nothing.sum(), feature)[0] == 0).all()


@pytest.mark.parametrize('size', [(17, 33), (16, 24), (40, 40)])
@pytest.mark.parametrize('number', [0, 1, 6, 300])
def test_reference_points_against_masks(size, number):
    index = slow.make_target(number, size, padding=True).index
    points = segment_reference_points(index, number)
    assert points.shape == (number, 5, 2)
    alive = torch.tensor([bool((index == k).any()) for k in range(number)], dtype=torch.bool)
    torch.testing.assert_close(
        points[alive].double(), slow.reference_points(index, number)[alive], rtol=0, atol=1e-6
    )
    assert torch.isfinite(points).all()


def test_reference_points_of_a_known_shape():
    index = torch.full((5, 9), -1, dtype=torch.int16)
    index[1, 3:6] = 0  # a T: bar in row 1, stem in column 4
    index[1:4, 4] = 0
    expected = torch.tensor(
        [[4 / 8, 1.6 / 4], [4 / 8, 1 / 4], [3 / 8, 1 / 4], [4 / 8, 3 / 4], [5 / 8, 1 / 4]]
    )
    torch.testing.assert_close(segment_reference_points(index, 1)[0], expected)


def stage_of(index, number):
    return SegmentPlanes.of(
        [PanopticTarget(index=index, labels=torch.zeros(number, dtype=torch.int64))]
    ).at(index[None])


def test_sampling_takes_labeled_pixels_without_replacement():
    index = slow.make_target(4, (33, 33), padding=True).index
    stage = stage_of(index, 4)
    position, valid = sample_pixels(stage, 500, 1.5)
    assert (
        valid.all() and len(position.unique()) == 500 and (index.flatten()[position[0]] >= 0).all()
    )
    few = torch.full((33, 33), -1, dtype=torch.int16)
    few[3, :7] = 1
    position, valid = sample_pixels(stage_of(few, 4), 50, 1.5)
    assert position.shape == (1, 50) and sorted(position[0][valid[0]].tolist()) == list(
        range(99, 106)
    )
    assert not sample_pixels(stage_of(few.clamp(max=-1), 0), 50, 1.5)[1].any()


@pytest.mark.parametrize('temperature, share', [(0.0, 0.1), (1.0, 0.5), (2.0, 0.9)])
def test_sampling_favors_small_segments_as_the_temperature_says(temperature, share):
    # One pixel of a thousand draws. The areas are 100 and 900, so that a segment's share is
    # area^(1-T), normalized.
    index = torch.zeros(25, 40, dtype=torch.int16)
    index[:, :4] = 1
    target = PanopticTarget(index=index, labels=torch.zeros(2, dtype=torch.int64))
    stage = SegmentPlanes.of([target] * 1000).at(torch.empty(1000, 25, 40))
    position, _ = sample_pixels(stage, 1, temperature, torch.Generator().manual_seed(0))
    assert abs(index.flatten()[position].float().mean() - share) < 0.05


def test_one_generator_per_image_makes_the_sample_independent_of_the_batch():
    target = slow.make_target(4, (33, 33))
    pair, alone = (
        SegmentPlanes.of([target, target]).at(torch.empty(2, 33, 33)),
        SegmentPlanes.of([target]).at(torch.empty(1, 33, 33)),
    )
    both, _ = sample_pixels(
        pair, 60, 1.5, [torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)]
    )
    second, _ = sample_pixels(alone, 60, 1.5, torch.Generator().manual_seed(2))
    assert set(both[1].tolist()) == set(second[0].tolist()) != set(both[0].tolist())
