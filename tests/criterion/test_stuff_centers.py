"""The assigner with ``stuff_centers``: each stuff class has a center of its own."""

import torch
from cmt_deeplab.criterion.assigner import PanopticHungarianAssigner
from cmt_deeplab.criterion.targets import SegmentPlanes
from cmt_deeplab.structures import MaskPrediction, PanopticTarget

THINGS, STUFF, CENTERS = 2, 3, 7


def match(labels: list[int], **options) -> list[int]:
    """The centers that an arbitrary prediction gives to segments side by side, of these labels."""
    draw = torch.Generator().manual_seed(0)
    index = torch.arange(len(labels)).repeat_interleave(2).expand(8, -1).to(torch.int16)
    prediction = MaskPrediction(
        mask_logits=torch.rand(1, CENTERS, *index.shape, generator=draw),
        class_logits=torch.rand(1, CENTERS, THINGS + STUFF + 1, generator=draw),
        pixel_features=None,
        reference_points=None,
    )
    planes = SegmentPlanes.of([PanopticTarget(index, torch.tensor(labels))], THINGS)
    return PanopticHungarianAssigner(**options)(prediction, planes).centers[0, :-1].tolist()


def test_stuff_takes_its_own_center_and_things_the_others():
    centers = match([0, 4, 1, 2, 0], stuff_centers=True)
    assert (centers[1], centers[3]) == (6, 4)
    assert {centers[0], centers[2], centers[4]} < {0, 1, 2, 3}


def test_what_no_center_is_left_for_stays_unmatched():
    centers = match([0, 0, 0, 0, 1, 3, 3], stuff_centers=True)
    assert centers[:5].count(-1) == 1 and sorted(centers[5:]) == [-1, 5]
    assert sorted(match([0, 0, 0, 0, 1, 3, 3])) == [*range(7)]
