"""Any array handed to mmdet's inference API: a prediction of its size, or one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmengine.config import Config

TINY = Path(__file__).resolve().parents[2] / 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
IMAGES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))
SHAPES = IMAGES | array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
DTYPES = [np.uint8, np.uint16, np.int8, np.int64, np.float16, np.float32, np.float64, bool, complex]


@pytest.fixture(scope='module')
def routes():
    """Functions from an array to its panoptic map, by mmdet's two ways."""
    config = Config.fromfile(str(TINY))
    torch.manual_seed(0)
    model = init_detector(config, device='cpu', palette='random')
    inferencer = DetInferencer(model=config, device='cpu', palette='random', show_progress=False)
    inferencer.model.load_state_dict(model.state_dict())

    def inferred(array):
        return inferencer(array, no_save_vis=True, return_datasamples=True)['predictions'][0]

    return [lambda array: inference_detector(model, array), inferred]


@given(data=st.data())
def test_an_array_is_predicted_or_refused_by_both_routes_alike(routes, data):
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    shape = data.draw(SHAPES)
    extremes = st.sampled_from([0, 1, 100]) | st.sampled_from([255, 0.5, 1e4, -3.0, float('nan')])
    with np.errstate(invalid='ignore', over='ignore'):
        array = np.array(data.draw(arrays(float, shape, elements=extremes))).astype(dtype)
    maps, sentences = [], []
    for route in routes:
        try:
            maps.append(route(array).pred_panoptic_seg.sem_seg)
        except UserError as error:
            assert '\n' not in str(error)
            sentences.append(str(error))
    assert not (maps and sentences), sentences
    if dtype == np.uint8 and array.ndim == 3 and array.size and shape[2] == 3:
        assert maps
    for found in maps:
        assert found.shape == (1, *shape[:2]) and torch.equal(found, maps[0])
