"""The merges as graphs of fixed shapes give what the merges give."""

import pytest
import torch
from cmt_deeplab.coco_format import map_value
from cmt_deeplab.errors import UserError
from cmt_deeplab.postprocess.merge_base import PanopticMerge
from cmt_deeplab.postprocess.traced import traced_merge
from mmdet.registry import MODELS
from slow_merge import random_centers

THINGS, STUFF = 4, 3
LOW = dict(thing_threshold=0.3, stuff_threshold=0.2)
ODD = dict(input_size=(81, 105), image_size=(61, 105), output_size=(70, 90), align_corners=True)
EVEN = dict(input_size=(84, 108), image_size=(70, 100), output_size=(63, 80), align_corners=False)


def merge_of(kind, **settings):
    settings = dict(thing_area=30, stuff_area=90, area_reference=(84, 84)) | settings
    classes = dict(num_things_classes=THINGS, num_stuff_classes=STUFF)
    return MODELS.build(dict(type=f'Panoptic{kind}Merge', **classes, **settings))


@pytest.mark.parametrize('sizes', [ODD, EVEN], ids=['aligned', 'cells'])
@pytest.mark.parametrize(
    ('kind', 'settings'),
    [
        ('MaskWise', dict(LOW, pixel_threshold=0.2, overlap_threshold=0.5)),
        ('MaskWise', dict(LOW, two_step_resize=True, strict_class_threshold=True)),
        ('MaskWise', dict(LOW, score_at_stride=True, mask_weight=0.5)),
        ('PixelWise', dict(class_threshold=0.3)),
        ('PixelWise', dict(class_threshold=1.0)),  # which no center reaches
    ],
)
def test_the_graph_gives_the_segments_of_the_merge(kind, settings, sizes):
    merge = merge_of(kind, **settings)
    for seed in range(3):
        masks, classes = random_centers(seed)
        expected = merge(masks, classes, **sizes)
        tensors = {key: torch.tensor(sizes[key]) for key in ('image_size', 'output_size')}
        ids, labels, scores, areas = traced_merge(merge, masks, classes, **{**sizes, **tensors})
        values, things, infos = [THINGS + STUFF], 0, expected.segments_info
        for label in labels[areas > 0].tolist():
            things += label < THINGS
            values.append(map_value(label, things * (label < THINGS)))
        assert [info['id'] for info in infos] == values[1:]
        assert torch.equal(torch.tensor(values)[ids.long()], expected.segment_map.long())
        found = [info['area'] for info in infos] + [0] * (len(areas) - len(infos))
        assert areas.tolist() == found
        wanted = torch.tensor([info['score'] for info in infos])
        torch.testing.assert_close(scores[: len(infos)], wanted, atol=1e-6, rtol=0)
    assert bool(infos) == (settings.get('class_threshold') != 1.0)


def test_a_merge_of_ones_own_names_what_it_lacks():
    merge = PanopticMerge(num_things_classes=THINGS, num_stuff_classes=STUFF)
    merge.is_candidate = lambda confidence, label: confidence > 0.5
    with pytest.raises(UserError, match='has no method traced_owner'):
        sizes = {key: torch.tensor(EVEN[key]) for key in ('image_size', 'output_size')}
        traced_merge(merge, *random_centers(0), **{**EVEN, **sizes})
