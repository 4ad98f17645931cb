"""Shared by all tests: mmdet's registries as the scope, and the real data where it is."""

import os
from pathlib import Path

import cmt_deeplab  # noqa: F401  registers everything; before mmdet, which needs its compat.py
import pytest
from mmdet.registry import VISUALIZERS
from mmengine.logging import MessageHub
from mmengine.registry import VISUALIZERS as ROOT_VISUALIZERS
from mmengine.registry import DefaultScope


@pytest.fixture(scope='session', autouse=True)
def mmdet_scope():
    if DefaultScope.get_current_instance() is None:
        DefaultScope.get_instance('tests', scope_name='mmdet')


@pytest.fixture(scope='session', autouse=True)
def unformatted_configs():
    """The layout by yapf of the config, which mmengine writes eight times, takes most of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **style: (text, True))
        yield


@pytest.fixture(autouse=True)
def own_globals():
    """Forget what mmengine keeps by name for the whole process.

    Otherwise the next run would draw and log into the folder of the one before, and a model would
    take its iteration for its own.
    """
    yield
    MessageHub._instance_dict.clear()
    for kind in set(VISUALIZERS.module_dict.values()) | set(ROOT_VISUALIZERS.module_dict.values()):
        kind._instance_dict.clear()


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder with real COCO images that ``CMT_DEEPLAB_TEST_DATA`` names.

    Without it the test is skipped and says so.
    """
    folder = os.environ.get('CMT_DEEPLAB_TEST_DATA')
    if not folder:
        pytest.skip('the environment variable CMT_DEEPLAB_TEST_DATA is not set: no real data')
    if not (Path(folder) / 'coco' / 'annotations' / 'panoptic_train2017.json').is_file():
        pytest.fail(
            f'CMT_DEEPLAB_TEST_DATA={folder} has no coco/annotations/panoptic_train2017.json: '
            'correct it or unset it'
        )
    return Path(folder)


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory) -> Path:
    """Twelve training and six validation scenes of the preset ``quick``; copy before changing."""
    from cmt_deeplab.datasets import write_shapes

    root = tmp_path_factory.mktemp('shapes')
    write_shapes(root, preset='quick', num_train=12, num_val=6, seed=7)
    return root
