"""mmdet's hook and inferencer write a picture or a prediction for each image."""

import functools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from cmt_deeplab.errors import UserError
from cmt_deeplab.visualization import picture_files
from mmdet.apis import DetInferencer
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample


class Images(list):
    """A data set of paths."""

    def get_data_info(self, index):
        return dict(img_path=str(self[index]))


def draw(root, names, kind):
    """The pictures of a test, whose two processes draw every second image."""
    paths = Images(root / name for name in names)
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.zeros((32, 32, 3), np.uint8))
    dataloader = SimpleNamespace(dataset=paths)
    runner = SimpleNamespace(work_dir=str(root), timestamp='now', test_dataloader=dataloader)
    for rank in range(2):
        visualizer = VISUALIZERS.build(dict(type=kind, name=f'{kind}-{rank}'))
        visualizer.dataset_meta = dict(classes=('a', 'b'), thing_classes=('a',))
        hook = DetVisualizationHook(draw=True, test_out_dir='shown')
        hook._visualizer = visualizer
        hook.before_test(runner)
        samples = [DetDataSample(metainfo=dict(img_path=str(path))) for path in paths[rank::2]]
        hook.after_test_iter(runner, 0, {}, samples)
    shown = root / 'now/shown'
    return sorted(str(path.relative_to(shown)) for path in shown.rglob('*.*'))


@pytest.mark.parametrize('kind', ['PanopticLocalVisualizer', 'DetLocalVisualizer'])
@pytest.mark.parametrize(
    'names, pictures',
    [
        (('a/1.png', 'b/1.png', 'b/2.jpg'), None),
        (('a/1.png', '1.png', '1.jpg'), None),
        (('a/1.png', 'b/2.png'), ('1.png', '2.png')),
    ],
)
def test_every_image_has_its_picture(names, pictures, kind, tmp_path):
    assert draw(tmp_path, names, kind) == sorted(pictures or names)


@pytest.fixture
def written(monkeypatch):
    """What mmdet's inferencer is called with."""
    inputs = []

    @functools.wraps(picture_files._call)
    def call(self, given, *args, **kwargs):
        inputs.append(given)

    monkeypatch.setattr(picture_files, '_call', call)
    return inputs


PREDICT = dict(out_dir='out', no_save_pred=False)


@pytest.mark.parametrize(
    'images, options',
    [
        (['a/1.jpg', 'b/1.jpg'], dict(out_dir='out')),
        (['a/1.jpg', 'b/1.jpg'], PREDICT | dict(no_save_vis=True)),
        (['a/1.jpg', 'a/1.png'], PREDICT),
    ],
)
def test_an_inferencer_refuses_before_it_writes(images, options, written):
    inferencer = DetInferencer.__new__(DetInferencer)
    with pytest.raises(
        UserError, match=r'a/1\.jpg and .*1\..* would both be written to out/'
    ) as error:
        inferencer(images, **options)
    assert not written and '\n' not in str(error.value) and str(error.value).endswith('.')
    for image in images:  # as the message says
        inferencer(image, **options | dict(out_dir=f'out/{image}'))
    inferencer(images[0], **options)
    with pytest.raises(UserError, match='would both be written'):  # in the next call
        inferencer(images[1], **options)
    assert len(written) == 3


def test_an_inferencer_takes_what_it_can_keep_apart(written):
    inferencer, image = DetInferencer.__new__(DetInferencer), np.zeros((4, 4, 3), np.uint8)
    inferencer(['a/1.jpg', 'b/1.jpg'])
    inferencer(['a/1.jpg', 'b/1.jpg'], out_dir='out', no_save_vis=True)
    inferencer(['a/1.jpg', 'a/1.png', './a/1.jpg', 'a/2.jpg'], out_dir='out')
    inferencer([image, image], **PREDICT)
    inferencer(image, **PREDICT)
    assert len(written) == 5
