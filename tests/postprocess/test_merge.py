"""Both merges against full masks pasted one by one, for every option; properties of the result."""

from pathlib import Path

import cmt_deeplab  # noqa: F401
import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.postprocess import occupancy
from cmt_deeplab.postprocess.parts import SMALLEST_PART
from mmdet.registry import MODELS
from mmengine.config import Config
from scipy.ndimage import label as label_parts
from slow_merge import random_centers, same_partition, slow_mask_wise, slow_pixel_wise
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[2]
THINGS, CLASSES = 4, 7
SIZES = dict(input_size=(81, 105), image_size=(81, 105), output_size=(81, 105), align_corners=True)
CROPPED = dict(input_size=(81, 105), image_size=(61, 105), output_size=(70, 90), align_corners=True)
HALF_PIXEL = dict(
    input_size=(84, 108), image_size=(70, 100), output_size=(63, 80), align_corners=False
)


def build(kind='MaskWise', **settings):
    settings = dict(thing_area=0, stuff_area=0) | settings
    return MODELS.build(
        dict(
            type=f'Panoptic{kind}Merge',
            num_things_classes=THINGS,
            num_stuff_classes=CLASSES - THINGS,
            **settings,
        )
    )


def check(result, expected):
    """Equal in every pixel, score and area; only the numbers of instances may differ."""
    picture, found = expected
    assert same_partition(result.segment_map, picture)
    got = sorted((s['category_id'], s['area'], round(s['score'], 4)) for s in result.segments_info)
    want = sorted((label, area, round(score, 4)) for label, area, score in found.values())
    for (label, area, score), (label_, area_, score_) in zip(got, want):
        assert (label, area) == (label_, area_) and abs(score - score_) < 2e-4
    assert len(got) == len(want)


@pytest.mark.parametrize(
    'sizes', [SIZES, CROPPED, HALF_PIXEL], ids=['same', 'cropped', 'half-pixel']
)
@pytest.mark.parametrize(
    'ours, reference',
    [
        ({}, {}),
        (dict(pixel_threshold=0.2), dict(pixel=0.2)),
        (dict(pixel_threshold=0.6), dict(pixel=0.6)),
        (
            dict(overlap_threshold=0.95, thing_threshold=0.4, stuff_threshold=0.3),
            dict(overlap=0.95, thing=0.4, stuff=0.3),
        ),
        (dict(two_step_resize=True, strict_class_threshold=True), dict(two_step=True, strict=True)),
        (dict(mask_weight=2.0), dict(mask_weight=2.0)),
    ],
)
def test_mask_wise_equals_pasting_full_masks(sizes, ours, reference):
    merge = build(**ours)
    segments = 0
    for seed in range(4):
        logits, classes = random_centers(seed)
        result = merge(logits, classes, **sizes)
        check(
            result,
            slow_mask_wise(
                logits, classes, num_things=THINGS, num_classes=CLASSES, **reference, **sizes
            ),
        )
        segments += len(result.segments_info)
    assert segments > 8


def test_the_leaf_of_kmax_in_its_pytorch_form_merges_as_its_source_does():
    """Two resizes, thresholds to exceed, and no segment too small, as in kmax-deeplab."""
    leaf = 'configs/kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
    settings = Config.fromfile(str(ROOT / leaf)).model.postprocess
    settings.update(num_things_classes=THINGS, num_stuff_classes=CLASSES - THINGS)
    sizes = dict(input_size=(81, 81), image_size=(54, 81), output_size=(60, 90), align_corners=True)
    smallest, segments = 60 * 90, 0
    for seed in range(6):
        logits, classes = random_centers(seed, grid=(21, 21))
        result = MODELS.build(settings)(logits, classes, **sizes)
        reference = dict(num_things=THINGS, num_classes=CLASSES, two_step=True, strict=True)
        check(result, slow_mask_wise(logits, classes, **reference, **sizes))
        segments += len(result.segments_info)
        smallest = min([smallest, *(segment['area'] for segment in result.segments_info)])
    assert segments > 8
    share = smallest / (60 * 90) * (54 / 81)  # of the padded input
    assert share < 400 / 1281**2  # the smallest thing that the default keeps


def test_scores_at_the_stride_of_the_prediction_as_tensorflow_has_them():
    for seed in range(6):
        logits, classes = random_centers(seed, sharp=2.5)
        check(
            build(score_at_stride=True)(logits, classes, **SIZES),
            slow_mask_wise(
                logits,
                classes,
                num_things=THINGS,
                num_classes=CLASSES,
                score_at_stride=True,
                **SIZES,
            ),
        )


def test_more_candidates_than_one_code_plane_holds():
    for seed in range(3):
        logits, classes = random_centers(seed, num_centers=90, sharp=6.0)
        classes[:, -1] = -20
        classes *= 3
        settings = dict(
            pixel_threshold=0.15, thing_threshold=0.1, stuff_threshold=0.1, overlap_threshold=0.5
        )
        assert (classes.softmax(-1)[:, :-1].max(-1).values > 0.1).sum() > 3 * occupancy.BITS
        expected = slow_mask_wise(
            logits,
            classes,
            num_things=THINGS,
            num_classes=CLASSES,
            pixel=0.15,
            thing=0.1,
            stuff=0.1,
            overlap=0.5,
            **SIZES,
        )
        check(build(**settings)(logits, classes, **SIZES), expected)


@pytest.mark.parametrize(
    'sizes', [SIZES, CROPPED, HALF_PIXEL], ids=['same', 'cropped', 'half-pixel']
)
def test_pixel_wise_equals_two_argmaxes(sizes):
    segments = 0
    for seed in range(6):
        logits, classes = random_centers(seed)
        result = build('PixelWise')(logits, classes, **sizes)
        check(
            result,
            slow_pixel_wise(logits, classes, num_things=THINGS, num_classes=CLASSES, **sizes),
        )
        segments += len(result.segments_info)
    assert segments > 8


@pytest.mark.parametrize('threshold', [0, 1])
@pytest.mark.parametrize(
    'kind, slow', [('MaskWise', slow_mask_wise), ('PixelWise', slow_pixel_wise)]
)
def test_the_ends_of_the_pixel_threshold(kind, slow, threshold):
    logits, classes = random_centers(0)
    result = build(kind, pixel_threshold=threshold)(logits, classes, **SIZES)
    check(
        result,
        slow(logits, classes, num_things=THINGS, num_classes=CLASSES, pixel=threshold, **SIZES),
    )
    assert bool(result.segments_info) == (threshold == 0)


def test_pixel_wise_tie_goes_to_the_first_center():
    logits, classes = torch.zeros(2, 3, 3), torch.full((2, CLASSES + 1), -20.0)
    classes[0, 5] = classes[1, 1] = 20
    result = build('PixelWise')(
        logits,
        classes,
        input_size=(9, 9),
        image_size=(9, 9),
        output_size=(9, 9),
        align_corners=True,
    )
    assert (result.segment_map == 5).all()


@pytest.mark.parametrize(
    'kind, slow', [('MaskWise', slow_mask_wise), ('PixelWise', slow_pixel_wise)]
)
def test_small_segments_leave_void_in_proportion_to_the_input_frame(kind, slow):
    # The limits are shares of a frame of 81 x 105; the output of 70 x 90 shows 61 x 105 of it.
    sizes = CROPPED
    scale = 81 * 105 / 162 / 210 * (70 * 90) / (61 * 105)
    for seed in range(4):
        logits, classes = random_centers(seed)
        merge = build(kind, thing_area=2000, stuff_area=6000, area_reference=(162, 210))
        result = merge(logits, classes, **sizes)
        check(
            result,
            slow(
                logits,
                classes,
                num_things=THINGS,
                num_classes=CLASSES,
                areas=(2000 * scale, 6000 * scale),
                **sizes,
            ),
        )
        everything = build(kind)(logits, classes, **sizes)
        assert len(everything.segments_info) > len(result.segments_info)


@pytest.mark.parametrize('kind', ['MaskWise', 'PixelWise'])
def test_ids_are_unique_areas_are_those_of_the_map_and_the_order_of_centers_is_immaterial(kind):
    for seed in range(5):
        logits, classes = random_centers(seed)
        result = build(kind)(logits, classes, **SIZES)
        ids = [segment['id'] for segment in result.segments_info]
        assert len(set(ids)) == len(ids) > 1 and result.segment_map.dtype == torch.int32
        assert set(result.segment_map.unique().tolist()) - {CLASSES} == set(ids)
        for segment in result.segments_info:
            assert (
                segment['area'] == (result.segment_map == segment['id']).sum()
                and segment['category_id'] == segment['id'] % 1000
            )
            assert (
                segment['isthing'] == (segment['category_id'] < THINGS) == (segment['id'] >= 1000)
            )
        order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
        again = build(kind)(logits[order], classes[order], **SIZES)
        assert torch.equal(again.segment_map, result.segment_map)


def test_class_threshold_strict_or_not_and_void():
    logits = torch.full((3, 5, 5), -20.0)
    logits[0] = 20
    classes = torch.full((3, CLASSES + 1), -100.0)
    classes[0, 5] = classes[0, CLASSES] = 0  # class probability exactly 0.5
    sizes = dict(input_size=(17, 17), image_size=(17, 17), output_size=(17, 17), align_corners=True)
    assert (build(stuff_threshold=0.5)(logits, classes, **sizes).segment_map == 5).all()
    assert (
        build(stuff_threshold=0.5, strict_class_threshold=True)(
            logits, classes, **sizes
        ).segment_map
        == CLASSES
    ).all()
    classes[0, 5] = -100  # nothing but void
    result = build()(logits, classes, **sizes)
    assert (result.segment_map == CLASSES).all() and result.segments_info == []


def test_centers_set_aside_stay_in_the_denominator():
    logits = torch.zeros(3, 5, 5)  # a third each: under 0.4 although only one center has a class
    classes = torch.full((3, CLASSES + 1), -100.0)
    classes[0, 1], classes[1:, CLASSES] = 0, 0
    sizes = dict(input_size=(17, 17), image_size=(17, 17), output_size=(17, 17), align_corners=True)
    assert build()(logits, classes, **sizes).segments_info == []
    assert len(build(pixel_threshold=0.3)(logits, classes, **sizes).segments_info) == 1


def test_chunks_do_not_show(monkeypatch):
    logits, classes = random_centers(0)
    whole = build()(logits, classes, **SIZES)
    monkeypatch.setitem(occupancy.CHUNK_ELEMENTS, 'cpu', 1)
    rows = build()(logits, classes, **SIZES)
    assert torch.equal(whole.segment_map, rows.segment_map)
    assert [segment['id'] for segment in whole.segments_info] == [
        segment['id'] for segment in rows.segments_info
    ]


def test_half_precision_logits_are_merged_in_fp32():
    logits, classes = random_centers(1)
    logits, classes = logits.bfloat16(), classes.bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        result = build()(logits, classes, **SIZES)
    assert torch.equal(
        result.segment_map, build()(logits.float(), classes.float(), **SIZES).segment_map
    )


def test_wrong_class_count_and_threshold_are_explained():
    logits, classes = random_centers(0)
    with pytest.raises(ValueError, match='num_things_classes and num_stuff_classes'):
        build()(logits, classes[:, :-1], **SIZES)
    with pytest.raises(ValueError, match='pixel_threshold=1.5'):
        build(pixel_threshold=1.5)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that an operation gives, and its dtypes."""

    elements, dtypes = 0, frozenset()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
                self.dtypes |= {tensor.dtype}
        return result


@pytest.mark.parametrize('kind', ['MaskWise', 'PixelWise'])
def test_no_tensor_grows_with_pixels_times_centers(kind, monkeypatch):
    monkeypatch.setattr(occupancy, 'BLOCK_ELEMENTS', 1 << 12)
    generator = torch.Generator().manual_seed(0)
    masks = 8 * torch.randn(200, 6, 6, generator=generator)
    classes = torch.randn(200, CLASSES + 1, generator=generator)
    classes[:, 2] += 12  # every center is a candidate
    sizes = dict(input_size=(21, 21), image_size=(21, 21), output_size=(600, 400))
    with Largest() as largest:
        result = build(kind)(masks, classes, align_corners=True, **sizes)
    assert len(result.segments_info) > 20
    assert largest.elements <= occupancy.CHUNK_ELEMENTS['cpu']
    assert torch.float64 not in largest.dtypes  # not every device has it


def test_more_classes_than_a_map_can_hold_are_refused():
    counts = dict(num_things_classes=600, num_stuff_classes=399)
    merge = MODELS.build(dict(type='PanopticMaskWiseMerge', **counts))
    assert merge.num_classes == 999
    with pytest.raises(UserError, match='MaskWiseMerge: .* at most 999 classes, not 1000'):
        MODELS.build(dict(type='PanopticMaskWiseMerge', **dict(counts, num_stuff_classes=400)))


def stripes(num_centers: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits 40 x 40: center 0 is a thing of two columns, center 1 stuff, center 2 a thing."""
    logits = torch.full((num_centers, 40, 40), -8.0)
    logits[1] = 0.0
    logits[0, :, 2:8] = logits[0, 4:20, 30:36] = 8.0
    logits[0, 38, 14] = 8.0  # a pixel, smaller than the smallest thing
    logits[2, 10:20, 12:20] = 9.0
    classes = torch.full((num_centers, CLASSES + 1), -8.0)
    for center, (label, logit) in enumerate(((1, 4.0), (THINGS, 0.0), (0, -3.0))):
        classes[center, label] = logit
    return logits, classes


def test_parts_of_things_become_things():
    sizes = dict(input_size=(40, 40), image_size=(40, 40), output_size=(40, 40))
    settings = dict(align_corners=False, **sizes)
    limits = dict(thing_area=4, stuff_area=4, area_reference=(40, 40))
    whole, parts = (
        build(separate_parts=one, **limits)(*stripes(), **settings) for one in (False, True)
    )
    assert [info['category_id'] for info in whole.segments_info] == [1, THINGS, 0]
    assert [info['category_id'] for info in parts.segments_info] == [1, 1, THINGS, 0]
    assert [info['area'] for info in parts.segments_info][:2] == [40 * 6, 16 * 6]
    first, second, *_ = parts.segments_info
    assert first['score'] == second['score'] == whole.segments_info[0]['score']
    assert len({info['id'] for info in parts.segments_info}) == 4
    for info in parts.segments_info:
        assert (parts.segment_map == info['id']).sum() == info['area']
    assert (parts.segment_map[:, 2:8] == first['id']).all()
    assert parts.segment_map[38, 14] == CLASSES != whole.segment_map[38, 14]
    untouched = whole.segment_map >= 0
    untouched &= whole.segment_map != whole.segments_info[0]['id']
    labels = [result.segment_map % 1000 for result in (whole, parts)]
    assert torch.equal(labels[0][untouched], labels[1][untouched])


@pytest.mark.parametrize('kind', ['MaskWise', 'PixelWise'])
def test_parts_are_those_of_scipy(kind):
    for seed in range(4):
        logits, classes = random_centers(seed, sharp=4.0)
        limits = dict(thing_area=0, stuff_area=0)
        whole, parts = (
            build(kind, separate_parts=one, **limits)(logits, classes, **SIZES)
            for one in (False, True)
        )
        number = 0
        for info in whole.segments_info:
            mask = (whole.segment_map == info['id']).numpy()
            expected, count = label_parts(mask) if info['isthing'] else (mask.astype(int), 1)
            areas = np.bincount(expected[mask])
            slips = np.flatnonzero(areas < SMALLEST_PART * areas.max())
            found = parts.segment_map.numpy()
            assert (found[np.isin(expected, slips) & mask] == CLASSES).all()
            mask &= ~np.isin(expected, slips)
            count -= len(slips) - 1  # the part 0 has no pixels
            number += count
            pairs = set(zip(expected[mask].tolist(), found[mask].tolist()))
            assert len(pairs) == count == len({value for _, value in pairs})
        assert number == len(parts.segments_info) > len(whole.segments_info)
