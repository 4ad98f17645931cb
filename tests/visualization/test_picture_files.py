"""mmdet's hook and inferencer write a picture or a prediction for each image."""

import functools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from cmt_deeplab.errors import UserError
from cmt_deeplab.visualization import PanopticVisualizationHook, picture_files
from mmdet.apis import DetInferencer
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose
from PIL import Image
from torch.utils.data import ConcatDataset


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


@pytest.mark.parametrize('color_type', ['color', 'color_ignore_orientation', 'unchanged'])
def test_pictures_are_drawn_over_what_the_pipeline_read(color_type, tmp_path, monkeypatch):
    path, exif, drawn = tmp_path / 'turned.png', Image.Exif(), []
    exif[0x0112] = 3
    image = np.repeat(np.arange(0, 240, 20, np.uint8).reshape(3, 4, 1), 3, axis=2)
    Image.fromarray(image).save(path, exif=exif.tobytes())
    sample = DetDataSample(metainfo=dict(img_path=str(path)))
    pipeline = Compose([dict(type='LoadImageFromFile', color_type=color_type)])
    read = pipeline(dict(img_path=str(path)))['img']
    loader = SimpleNamespace(dataset=ConcatDataset([Images([path])]), batch_size=1)
    loader.dataset.datasets[0].pipeline = pipeline
    runner = SimpleNamespace(test_dataloader=loader, val_dataloader=loader, iter=0)
    visualizer = SimpleNamespace(get_image=list)
    visualizer.add_datasample = lambda name, image, *rest, **options: drawn.append(image)
    for kind in (DetVisualizationHook, PanopticVisualizationHook):
        hook = kind.__new__(kind)
        vars(hook).update(_visualizer=visualizer, draw=True, test_out_dir=None, backend_args=None)
        vars(hook).update(interval=1, show=False, wait_time=0, score_thr=0, _test_index=0)
        hook.before_test(runner)
        hook.after_test_iter(runner, 0, {}, [sample])
        hook.after_val_iter(runner, 0, {}, [sample])
    inferencer = DetInferencer.__new__(DetInferencer)
    inferencer.visualizer, inferencer.num_visualized_imgs = visualizer, 0
    inferencer.pipeline = Compose([dict(type='InferencerLoader', color_type=color_type)])
    inferencer.visualize([str(path)], [sample], return_vis=True, no_save_vis=True, show=True)
    assert len(drawn) == 5 and all(np.array_equal(picture, read) for picture in drawn)
    assert np.array_equal(read, image[::-1, ::-1] if color_type == 'color' else image)


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
