"""An image whose network has run: other thresholds give what the inferencer gives with them."""

from unittest.mock import patch

import cv2
import numpy as np
import pytest
from cmt_deeplab.inference import PanopticInferencer
from cmt_deeplab.inference.held import HeldImage, merge_settings
from cmt_deeplab.visualization import PanopticDrawer
from untrained import certain_config, save_untrained


@pytest.fixture(scope='module')
def image(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('image') / 'image.png'
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (150, 110)))
    return str(path)


def inferencer_of(name: str, folder, **options) -> PanopticInferencer:
    path = save_untrained(certain_config(f'{name}_tiny_shapes.py'), folder / 'tiny.pth')
    return PanopticInferencer(path, device='cpu', **options)


def assert_same(one, other) -> None:
    assert np.array_equal(one.id_map, other.id_map)
    assert one.segments_info == other.segments_info


@pytest.mark.parametrize(
    'name', ['cmt_deeplab/cmt-deeplab', 'kmax_deeplab/kmax-deeplab', 'max_deeplab/max-deeplab']
)
def test_other_thresholds_without_the_network(name, image, tmp_path):
    inferencer = inferencer_of(name, tmp_path)
    merge = inferencer.network.model.postprocess
    held = HeldImage(inferencer, image)
    plain = held.result()
    label = plain.segments_info[0]['label']
    with patch.object(inferencer.network.model, 'network', side_effect=AssertionError):
        moved = {setting: 0.9 for setting in merge_settings(inferencer.network.model)}
        stricter = held.result(**moved)
        one_class = held.result({label: 1.0})
    assert_same(plain, *inferencer(image))
    with patch.multiple(merge, **moved):
        assert_same(stricter, *inferencer(image))
    assert_same(one_class, *inferencer(image, thresholds={label: 1.0}))
    assert len(stricter.segments_info) < len(plain.segments_info)
    assert label not in [info['label'] for info in one_class.segments_info]

    drawer = PanopticDrawer(classes=plain.classes, num_things_classes=plain.num_things_classes)
    layers = held.layers(plain, drawer.colors(plain.segment_map))
    assert len(layers) > 1 and 'final mask' in [*layers][-1]
    assert {layer.dtype for layer in layers.values()} == {np.dtype('uint8')}


def test_windows_have_no_layers(image, tmp_path):
    inferencer = inferencer_of('cmt_deeplab/cmt-deeplab', tmp_path, windows=(64, 64))
    held = HeldImage(inferencer, image)
    plain = held.result()
    assert_same(plain, *inferencer(image))
    assert held.layers(plain, {}) == {}
    assert len(held.result(thing_threshold=1.0, stuff_threshold=1.0).segments_info) < len(
        plain.segments_info
    )


def test_models_of_mmdet_have_one_result(image, tmp_path):
    inferencer = inferencer_of('peers/maskformer', tmp_path)
    held = HeldImage(inferencer, image)
    assert not merge_settings(inferencer.network.model)
    assert_same(held.result(), *inferencer(image))
    assert held.layers(held.result(), {}) == {}
