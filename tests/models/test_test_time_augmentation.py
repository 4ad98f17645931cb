"""Test-time augmentation: which centers belong together, and what a mirrored image gives."""

import re
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models import test_time_augmentation as tta
from cmt_deeplab.structures import MaskPrediction
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from run_tool import run_tool
from small_model import COMPLETE, MODELS
from untrained import certain_config, save_untrained

CENTERS, CLASSES = 8, 5


def network(align_corners: bool = True):
    """A detector whose centers stand for colors, in an order that differs for a mirror image.

    The masks also depend on where a pixel lies, so that a mirror image does not give the same.
    """
    merge = dict(
        COMPLETE['postprocess'],
        thing_threshold=0.3,
        stuff_threshold=0.3,
        thing_area=0,
        stuff_area=0,
        overlap_threshold=0.3,
    )
    model = MODELS.build(dict(COMPLETE, align_corners=align_corners, postprocess=merge)).eval()
    draw = torch.Generator().manual_seed(0)
    colors = 2 * torch.rand(CENTERS, 3, 1, 1, generator=draw) - 1
    classes = 5 * torch.rand(CENTERS, CLASSES + 1, generator=draw)

    def clusters(images):
        sides = [(side - align_corners) // 4 + align_corners for side in images.shape[-2:]]
        pixels = resize(images, sides, align_corners=align_corners)[:, None]
        ramp = torch.linspace(0, 1, sides[1]) * torch.linspace(-1, 1, CENTERS)[:, None, None]
        masks = ramp - 9 * (pixels - colors).square().sum(2)
        orders = [
            torch.arange(CENTERS).roll(3 * int(image[..., 0].sum() > image[..., 9].sum()))
            for image in images
        ]
        final = MaskPrediction(
            mask_logits=torch.stack([each[order] for each, order in zip(masks, orders)]),
            class_logits=torch.stack([classes[order] for order in orders]),
            pixel_features=None,
        )
        return SimpleNamespace(decoder=SimpleNamespace(predictions=[final]))

    model.network = clusters
    return model


def picture(*size: int):
    """Smooth colors (3, H, W)."""
    noise = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    return (255 * resize(noise, size, align_corners=True)[0]).to(torch.uint8)


def batch(*images):
    shapes = [tuple(image.shape[1:]) for image in images]
    samples = [
        DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, img_path='x.png'))
        for shape in shapes
    ]
    return dict(inputs=[*images], data_samples=samples)


def predict(model, image, **options):
    """The segment map, and the mask and class logits that are merged."""
    with patch.object(tta, 'add_prediction', wraps=tta.add_prediction) as merged, torch.no_grad():
        (sample,) = tta.PanopticTTAModel(model, **options).test_step(batch(image))
    _, _, mask_logits, class_logits = merged.call_args.args
    return sample.pred_panoptic_seg.sem_seg[0], mask_logits, class_logits, merged.call_args.kwargs


@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('scales', [(1.0,), (1.0, 1.5)])
@pytest.mark.parametrize('size', [(70, 51), (64, 64)])
def test_a_mirrored_image_gives_the_mirrored_result(align_corners, scales, size):
    model = network(align_corners)
    image = picture(*size)
    shown, masks, classes, sizes = predict(model, image, scales=scales)
    mirrored, other_masks, other_classes, _ = predict(model, image.flip(-1), scales=scales)
    columns = (sizes['image_size'][1] - align_corners) // 4 + align_corners
    masks, other_masks = masks[..., :columns], other_masks[..., :columns].flip(-1)
    one, other = (
        torch.cat([maps.flatten(1), labels], 1)
        for maps, labels in ((masks, classes), (other_masks, other_classes))
    )
    assert one.std(0).mean() > 1e-2  # centers differ
    distance = (one[:, None] - other).abs().amax(-1)  # the centers may have another order
    assert distance.amin(1).max() < 1e-4
    assert len({*distance.argmin(1).tolist()}) == len(one)
    assert len(shown.unique()) > 3
    assert (shown % 1000 == mirrored.flip(-1) % 1000).float().mean() > 0.999


def test_one_pass_is_the_plain_prediction():
    model, image = network(), picture(65, 41)
    with torch.no_grad():
        (plain,) = model.test_step(batch(image))
    shown, *_ = predict(model, image, flip=False)
    assert len(shown.unique()) > 3
    assert torch.equal(shown, plain.pred_panoptic_seg.sem_seg[0])


def test_windows_of_a_large_image():
    model, data = network(), batch(picture(97, 65))
    model.set_test_windows(size=(65, 65))
    (sample,) = tta.PanopticTTAModel(model).test_step(data)
    assert sample.pred_panoptic_seg.sem_seg.shape == (1, 97, 65)
    assert len(sample.pred_panoptic_seg.sem_seg.unique()) > 3


def test_centers_of_two_passes_are_matched():
    torch.manual_seed(1)
    masks, classes = 5 * torch.randn(12, 9, 9), 3 * torch.randn(12, 6)
    order = torch.randperm(12)
    noisy = masks + 0.5 * torch.randn_like(masks), classes + 0.1 * torch.randn_like(classes)
    mean_masks, mean_classes = tta.mean_prediction(
        [(masks, classes), (noisy[0][order], noisy[1][order])]
    )
    torch.testing.assert_close(mean_masks, (masks + noisy[0]) / 2)
    expected = (classes.softmax(-1) + noisy[1].softmax(-1)) / 2
    torch.testing.assert_close(mean_classes.softmax(-1), expected)


def test_logits_that_are_not_finite_are_matched_somehow():
    masks, classes = torch.full((4, 2, 2), torch.nan), torch.zeros(4, 3)
    order = tta.matched_centers(masks, classes.softmax(-1), masks, classes.softmax(-1))
    assert sorted(order.tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize('options', [dict(scales=()), dict(scales=(0,)), dict(scales=('1',))])
def test_scales_are_positive_numbers(options):
    with pytest.raises(UserError, match='tta_model.scales is .*: give positive numbers'):
        tta.PanopticTTAModel(network(), **options)


def test_other_models_are_refused():
    with pytest.raises(UserError, match='the model is a Other: test it without --tta'):
        tta.PanopticTTAModel(type('Other', (BaseModel,), dict(forward=None))())


def test_the_tool_compares_it_with_the_plain_evaluation(shapes_root, tmp_path):
    config = certain_config(test_dataloader__num_workers=0)
    config.test_dataloader.dataset.data_root = f'{shapes_root}/'
    config.test_dataloader.persistent_workers = False
    config.custom_hooks = [dict(type='PanopticReportHook')]
    files = f'{shapes_root}/annotations/panoptic_val2017'
    config.test_evaluator.update(ann_file=f'{files}.json', seg_prefix=f'{files}/')
    config.dump(str(tmp_path / 'config.py'))
    weights = save_untrained(config, tmp_path / 'weights.pth')
    finished = run_tool(
        'test.py', tmp_path / 'config.py', weights, '--tta', '--work-dir', tmp_path / 'work'
    )
    assert finished.returncode == 0, finished.stderr
    (log,) = (tmp_path / 'work').glob('*/*.log')
    pattern = r'from the plain .*coco_panoptic/PQ: \S+ -> \S+\n.*seconds: \S+ -> \S+'
    assert re.search(pattern, log.read_text(), re.S)
    assert len(re.findall('Panoptic quality', log.read_text())) == 2
    assert 'CMTDeepLab with' in (tmp_path / 'work/report.html').read_text()
