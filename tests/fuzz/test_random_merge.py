"""Both merges on random masks and sizes: beside full masks pasted one by one, and properties."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import MODELS
from slow_merge import random_centers, same_partition, slow_mask_wise, slow_pixel_wise

THINGS, CLASSES = 4, 7
MERGES = dict(PanopticMaskWiseMerge=slow_mask_wise, PanopticPixelWiseMerge=slow_pixel_wise)
SIDES = st.integers(1, 70)
seeds, kinds = st.integers(0, 1 << 30), st.sampled_from(sorted(MERGES))


def merge_of(kind: str, **settings):
    classes = dict(num_things_classes=THINGS, num_stuff_classes=CLASSES - THINGS)
    return MODELS.build(dict(type=kind, **classes, thing_area=0, stuff_area=0) | settings)


@st.composite
def sizes(draw, smallest_grid: int = 1) -> tuple[tuple[int, int], dict]:
    """The grid of the masks, and the sizes of padded input, image and output."""
    stride = draw(st.sampled_from([2, 4]))
    aligned = draw(st.booleans())
    grid = draw(st.tuples(*[st.integers(smallest_grid, 24)] * 2))
    padded = tuple((side - 1) * stride + 1 if aligned else side * stride for side in grid)
    image = tuple(draw(st.integers(1, side)) for side in padded)
    output = draw(st.tuples(SIDES, SIDES))
    return grid, dict(
        input_size=padded, image_size=image, output_size=output, align_corners=aligned
    )


def checked(result, output_size) -> None:
    """Every pixel has one owner, and ``segments_info`` says what the map holds."""
    segment_map, info = result.segment_map, result.segments_info
    assert segment_map.shape == output_size and segment_map.dtype == torch.int32
    values, areas = (x.tolist() for x in segment_map.unique(return_counts=True))
    found = dict(zip(values, areas))
    found.pop(CLASSES, None)  # void
    assert found == {segment['id']: segment['area'] for segment in info}
    assert len(found) == len(info)
    for segment in info:
        thing = segment['category_id'] < THINGS
        assert segment['id'] % 1000 == segment['category_id'] and segment['isthing'] == thing
        assert (segment['id'] >= 1000) == thing and 0 <= segment['score'] <= 1


@given(
    seed=seeds,
    kind=kinds,
    size=sizes(smallest_grid=2),
    number=st.integers(1, 60),
    scale=st.sampled_from([1, 100]),  # the exponentials of the larger ones overflow
)
def test_equals_full_masks_pasted_one_by_one(seed, kind, size, number, scale):
    grid, frames = size
    logits, classes = random_centers(seed, number, grid=grid, num_classes=CLASSES)
    logits *= scale
    result = merge_of(kind)(logits, classes, **frames)
    checked(result, frames['output_size'])
    expected, listed = MERGES[kind](
        logits, classes, num_things=THINGS, num_classes=CLASSES, **frames
    )
    assert same_partition(result.segment_map, expected)
    assert sorted(segment['area'] for segment in result.segments_info) == sorted(
        area for _, area, _ in listed.values()
    )


@given(
    seed=seeds,
    kind=kinds,
    size=sizes(),
    number=st.sampled_from([1, 24, 25, 300]),
    chosen=st.sampled_from(['none', 'some', 'all']),
    threshold=st.sampled_from([0.0, 0.05, 0.4, 1.0]),
)
def test_the_map_is_what_the_segments_say_and_the_order_of_centers_is_immaterial(
    seed, kind, size, number, chosen, threshold
):
    grid, frames = size
    logits, classes = random_centers(seed, number, grid=grid, num_classes=CLASSES)
    classes[:, -1] += dict(none=1e3, some=0, all=-1e3)[chosen]
    merge = merge_of(kind, pixel_threshold=threshold)
    result = merge(logits, classes, **frames)
    checked(result, frames['output_size'])
    if chosen == 'none':
        assert result.segments_info == [] and (result.segment_map == CLASSES).all()
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    again = merge(logits[order], classes[order], **frames)
    assert (again.segment_map != result.segment_map).double().mean() < 0.01
