"""Two images are learned by the criterion alone: free logits in place of a network."""

import criterion_slow_reference as slow
import pytest
import torch
from cmt_deeplab.criterion import PanopticCriterion
from cmt_deeplab.evaluation import PanopticQualityMetric
from cmt_deeplab.postprocess import PanopticMaskWiseMerge
from cmt_deeplab.structures import MaskPrediction, PanopticTarget
from mask2former_criterion import MASK2FORMER

SIZE = (16, 16)
THING_CLASSES, CLASSES = ('a', 'b', 'c'), ('a', 'b', 'c', 'd', 'e', 'f')
SIGMOID = dict(
    assigner=dict(
        type='PanopticMatchCostAssigner',
        match_costs=MASK2FORMER['assigner']['match_costs'],
        mask_probability='sigmoid',
    ),
    losses=dict(
        MASK2FORMER['losses'],
        **{
            name: dict(
                type='PanopticMaskLoss',
                loss=MASK2FORMER['losses'][name],
                mask_probability='sigmoid',
            )
            for name in ('loss_mask', 'loss_dice')
        },
    ),
)


def scenes():
    """Four quarters with a border of void, and two halves; the classes are things and stuff."""
    index = torch.arange(4, dtype=torch.int16).view(2, 2)
    quarters = index.repeat_interleave(8, 0).repeat_interleave(8, 1)
    quarters[:, 0] = -1
    halves = torch.arange(2, dtype=torch.int16).repeat_interleave(8)[:, None].expand(SIZE)
    return [
        PanopticTarget(quarters, torch.tensor([0, 0, 2, 4])),
        PanopticTarget(halves.contiguous(), torch.tensor([5, 1])),
    ]


def panoptic_quality(prediction, targets):
    merge = PanopticMaskWiseMerge(
        num_things_classes=3, num_stuff_classes=3, thing_area=0, stuff_area=0
    )
    metric = PanopticQualityMetric()
    metric.dataset_meta = dict(
        classes=CLASSES, thing_classes=THING_CLASSES, stuff_classes=CLASSES[3:]
    )
    for i, target in enumerate(targets):
        result = merge(
            prediction.mask_logits[i],
            prediction.class_logits[i],
            **dict.fromkeys(('input_size', 'image_size', 'output_size'), SIZE),
            align_corners=False,
        )
        sample = dict(
            img_id=i,
            pred_panoptic_seg=dict(sem_seg=result.segment_map[None]),
            gt_panoptic_seg=dict(index_map=target.index[None]),
            gt_segments=dict(
                labels=target.labels, is_crowd=torch.zeros_like(target.labels, dtype=torch.bool)
            ),
        )
        metric.process(None, [sample])
    return metric.evaluate(len(targets))['coco_panoptic/PQ']


@pytest.mark.parametrize('criterion', [MASK2FORMER, SIGMOID], ids=['softmax', 'sigmoid'])
def test_two_images_are_learned(criterion):
    start = slow.make_prediction(num_centers=8, size=SIZE, scale=0.5)
    prediction = MaskPrediction(
        start.mask_logits, start.class_logits, start.pixel_features, start.reference_points
    )
    optimizer = torch.optim.Adam([prediction.mask_logits, prediction.class_logits], lr=1.0)
    criterion = PanopticCriterion(num_classes=6, num_things_classes=3, **criterion)
    before = panoptic_quality(prediction, scenes())
    totals = []
    for _ in range(20):
        total = sum(criterion([prediction], scenes()).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert before == 0 and totals[-1] < 0.3 * totals[0]
    assert panoptic_quality(prediction, scenes()) > 95
