"""Images of unusual sizes and numbers of segments, and what a panoptic PNG may be."""

import io
import json

import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.coco_format import colors_of_ids
from cmt_deeplab.datasets import LoadPanopticIndexMap
from cmt_deeplab.errors import UserError
from helpers.small_model import build_small
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image
from test_panoptic_index_dataset import REPOSITORY

CATEGORIES = [dict(id=k + 1, name=name, isthing=int(k < 3)) for k, name in enumerate('abcst')]


def cells(height, width, number):
    """A grid of ``number`` segments with the ids 1, 2, ..., (height, width)."""
    y, x = np.mgrid[:height, :width]
    columns = int(np.ceil(np.sqrt(number)))
    return np.minimum((y * columns // height) * columns + x * columns // width, number - 1) + 1


PLANES = {
    'one pixel': cells(1, 1, 1),
    'one pixel wide': cells(50, 2, 4)[:, :1],
    'one pixel high': cells(2, 3000, 4)[:1],
    'no segment': np.zeros((40, 40), int),
    '254 segments': cells(64, 64, 254),
    '255 segments': cells(64, 64, 255),
    '300 segments': cells(120, 120, 300),
    '5000 segments': cells(300, 300, 5000),
    'the largest ids': cells(20, 20, 4) + (1 << 24) - 5,
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A data set with one image for each plane."""
    root, rng = tmp_path_factory.mktemp('unusual'), np.random.default_rng(0)
    images, annotations = [], []
    for k, plane in enumerate(PLANES.values(), 1):
        name, (height, width) = f'{k}.png', plane.shape
        for folder in ('images', 'truth'):
            (root / folder).mkdir(exist_ok=True)
        colors = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(colors).save(root / 'images' / name)
        Image.fromarray(np.ascontiguousarray(colors_of_ids(plane))).save(root / 'truth' / name)
        ids, areas = np.unique(plane[plane > 0], return_counts=True)
        segments = [
            dict(id=i, category_id=1 + i % 3, iscrowd=0, area=area)
            for i, area in zip(ids.tolist(), areas.tolist())
        ]
        images.append(dict(id=k, file_name=name, height=height, width=width))
        annotations.append(dict(image_id=k, file_name=name, segments_info=segments))
    content = dict(images=images, annotations=annotations, categories=CATEGORIES)
    (root / 'truth.json').write_text(json.dumps(content))
    return root


def build(root, pipeline, **options):
    return DATASETS.build(
        dict(
            type='PanopticIndexDataset',
            ann_file=str(root / 'truth.json'),
            data_prefix=dict(img=str(root / 'images/'), seg=str(root / 'truth/')),
            image_size=(65, 65),
            pipeline=pipeline,
            **options,
        )
    )


@pytest.fixture(scope='module')
def config():
    return Config.fromfile(str(REPOSITORY / 'configs/_base_/datasets/coco_panoptic_index.py'))


@pytest.mark.parametrize('pipeline', ['train_pipeline', 'copy_paste_pipeline'])
def test_they_train(root, config, pipeline):
    np.random.seed(0)
    dataset = build(root, config[pipeline], filter_cfg=dict(filter_empty_gt=False))
    model = build_small()
    model.init_weights()
    assert len(dataset) == len(PLANES)
    for index, name in enumerate(PLANES):
        batch = model.data_preprocessor(pseudo_collate([dataset[index]]), training=True)
        losses = model(**batch, mode='loss')
        assert all(torch.isfinite(value).all() for value in losses.values()), name


def test_they_are_predicted_and_scored(root, config):
    dataset = build(root, config.test_pipeline, test_mode=True)
    metric = METRICS.build(dict(type='PanopticQualityMetric'))
    metric.dataset_meta = dataset.metainfo
    model = build_small().eval()
    for index, plane in enumerate(PLANES.values()):
        with torch.no_grad():
            (sample,) = model.test_step(pseudo_collate([dataset[index]]))
        assert sample.pred_panoptic_seg.sem_seg.shape == (1, *plane.shape)
        assert len(sample.gt_segments.labels) == len(np.unique(plane[plane > 0]))
        truth = dict(sem_seg=torch.as_tensor(sample.gt_panoptic_seg.sem_seg))
        metric.process(None, [sample.to_dict() | dict(pred_panoptic_seg=truth)])
    assert metric.evaluate(len(PLANES))['coco_panoptic/PQ'] == 100


IDS = cells(20, 30, 9)
COLORS = np.ascontiguousarray(colors_of_ids(IDS))


def pil_bytes(image, kind='PNG', **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def load_truth(path, data):
    path.write_bytes(data)
    segments = [
        dict(id=int(i), label=0, is_crowd=False, of_thing_class=True) for i in np.unique(IDS)
    ]
    record = dict(seg_map_path=str(path), segments_info=segments, height=20, width=30)
    return LoadPanopticIndexMap()(record)['gt_index_map']


ALPHA = np.dstack([COLORS, np.arange(600).reshape(20, 30).astype(np.uint8)])


@pytest.mark.parametrize(
    'data',
    [
        pil_bytes(Image.fromarray(COLORS)),
        pil_bytes(Image.fromarray(ALPHA)),
        pil_bytes(Image.fromarray(COLORS), 'BMP'),
        pil_bytes(Image.fromarray(COLORS), 'TIFF'),
    ],
    ids=['RGB', 'RGBA', 'BMP', 'TIFF'],
)
def test_truth_in_colors(data, tmp_path):
    assert np.array_equal(load_truth(tmp_path / 'truth.png', data), IDS - 1)


@pytest.mark.parametrize(
    'data, message',
    [
        (pil_bytes(Image.fromarray(IDS.astype(np.uint8))), 'is a gray or palette PNG'),
        (pil_bytes(Image.fromarray(COLORS).convert('P')), 'is a gray or palette PNG'),
        (pil_bytes(Image.fromarray(IDS > 4)), 'is a gray or palette PNG'),
        (cv2.imencode('.png', IDS.astype(np.uint16))[1].tobytes(), 'csCreatePanopticImgs'),
        (cv2.imencode('.png', COLORS.astype(np.uint16))[1].tobytes(), 'has 16 bits per color'),
        (pil_bytes(Image.fromarray(COLORS), 'JPEG', quality=100), 'is a JPEG'),
        (pil_bytes(Image.fromarray(COLORS[:9])), 'is 30 x 9 pixels but'),
        (pil_bytes(Image.fromarray(COLORS))[:60], 'is truncated or damaged'),
    ],
    ids=['gray', 'palette', 'one bit', '16 bit gray', '16 bit', 'JPEG', 'size', 'truncated'],
)
def test_truth_that_is_refused(data, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        load_truth(tmp_path / 'truth.png', data)
    text = str(error.value)
    assert str(tmp_path) in text and '\n' not in text and text.endswith('.')
