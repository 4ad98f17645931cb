"""The metric for mmengine: equal to mmdet's CocoPanopticMetric, and errors in one sentence."""

import json
import os

import cmt_deeplab  # noqa: F401
import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from PIL import Image

META = dict(
    classes=('cat', 'dog', 'sky', 'sea'), thing_classes=('cat', 'dog'), stuff_classes=('sky', 'sea')
)
CATEGORIES = [
    dict(id=i, name=n, isthing=int(n in META['thing_classes']))
    for i, n in ((7, 'cat'), (9, 'dog'), (200, 'sky'), (31, 'sea'))
]


def draw_index_map(rng, num_segments, size=(40, 56)):
    """Rectangles over each other, with a void border: (H, W) int16."""
    index = np.full(size, -1, dtype=np.int16)
    for k in range(num_segments):
        y, x = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
        index[y : y + rng.integers(6, 24), x : x + rng.integers(6, 30)] = k
    index[:2] = -1
    return index


def make_sample(rng, img_id, root):
    """A data sample as a dict with a prediction, whose ground truth lies on disk too."""
    index = draw_index_map(rng, 7)
    present = [k for k in range(7) if (index == k).any()]
    labels, crowd = rng.integers(0, 4, 7), rng.random(7) < 0.25
    pred = np.full(index.shape, 4, dtype=np.int32)
    shifted = np.roll(index, rng.integers(0, 3), axis=1)
    for k in present:
        label = labels[k] if rng.random() < 0.7 else rng.integers(0, 4)
        pred[shifted == k] = label + (1000 * (k + 1) if label < 2 else 0)
    name = f'{img_id:06d}.png'
    ids = np.zeros((*index.shape, 3), dtype=np.uint8)
    ids[index >= 0] = np.stack(
        [index[index >= 0] + 1, np.full((index >= 0).sum(), 2), np.zeros((index >= 0).sum())], -1
    )
    Image.fromarray(ids).save(os.path.join(root, name))
    segments = [
        dict(
            id=k + 1 + 512,
            category_id=CATEGORIES[labels[k]]['id'],
            iscrowd=int(crowd[k]),
            area=int((index == k).sum()),
        )
        for k in present
    ]
    sample = dict(
        img_id=img_id,
        img_path=f'/x/{img_id:06d}.jpg',
        ori_shape=index.shape,
        pred_panoptic_seg=dict(sem_seg=torch.from_numpy(pred)[None]),
        gt_panoptic_seg=dict(index_map=torch.from_numpy(index)[None]),
        gt_segments=dict(
            labels=torch.from_numpy(labels), is_crowd=torch.from_numpy(crowd), ids=torch.arange(7)
        ),
    )
    # a segment without pixels would count as missed: the loaders drop it, so does this
    keep = torch.tensor(present)
    remap = torch.full((8,), -1, dtype=torch.int16)
    remap[keep] = torch.arange(len(present), dtype=torch.int16)
    sample['gt_panoptic_seg']['index_map'] = remap[sample['gt_panoptic_seg']['index_map'].long()]
    sample['gt_segments'] = {key: value[keep] for key, value in sample['gt_segments'].items()}
    return sample, dict(image_id=img_id, file_name=name, segments_info=segments)


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(3)
    folder = tmp_path / 'panoptic'
    folder.mkdir()
    pairs = [make_sample(rng, img_id, folder) for img_id in range(1, 7)]
    ann_file = tmp_path / 'panoptic.json'
    images = [
        dict(
            id=entry['image_id'],
            file_name=entry['file_name'].replace('png', 'jpg'),
            height=40,
            width=56,
        )
        for _, entry in pairs
    ]
    ann_file.write_text(
        json.dumps(
            dict(images=images, categories=CATEGORIES, annotations=[entry for _, entry in pairs])
        )
    )
    return [sample for sample, _ in pairs], str(ann_file), str(folder)


def build(meta=META, **settings):
    metric = METRICS.build(dict(type='PanopticQualityMetric', **settings))
    metric.dataset_meta = meta
    return metric


def evaluate(metric, samples, size=None):
    metric.process({}, samples)
    return metric.evaluate(size or len(samples))


def without_ground_truth(samples):
    return [
        {key: value for key, value in sample.items() if not key.startswith('gt_')}
        for sample in samples
    ]


def test_equals_mmdets_metric_and_both_sources_of_ground_truth_agree(data):
    pytest.importorskip('panopticapi')
    samples, ann_file, folder = data
    ours = evaluate(build(), samples)
    from_files = evaluate(
        build(ann_file=ann_file, seg_prefix=folder), without_ground_truth(samples)
    )
    theirs = METRICS.build(dict(type='CocoPanopticMetric', ann_file=ann_file, seg_prefix=folder))
    theirs.dataset_meta = META
    # mmdet writes void into the prediction in place.
    expected = evaluate(
        theirs,
        [
            dict(s, pred_panoptic_seg=dict(sem_seg=s['pred_panoptic_seg']['sem_seg'].clone()))
            for s in samples
        ],
    )
    assert list(ours) == list(expected) and ours['coco_panoptic/PQ'] > 20
    for key, value in expected.items():
        assert ours[key] == pytest.approx(value, abs=1e-9) and from_files[key] == pytest.approx(
            value, abs=1e-9
        )


def test_padded_duplicates_count_once_and_rows_keep_the_samplers_order(data):
    samples, _, _ = data
    expected = evaluate(build(), samples)
    assert (
        evaluate(build(), samples + samples[:2], size=len(samples)) == expected
    )  # truncated by mmengine
    assert (
        evaluate(build(), samples + samples[:2], size=len(samples) + 2) == expected
    )  # dropped by img_id
    metric = build()
    metric.process({}, samples)
    assert [row[0] for row in metric.results] == [1, 2, 3, 4, 5, 6]


def test_written_predictions_score_the_same_from_files(data, tmp_path):
    from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders

    samples, ann_file, folder = data
    prefix = str(tmp_path / 'out' / 'run')
    assert (
        evaluate(
            build(format_only=True, outfile_prefix=prefix, ann_file=ann_file),
            without_ground_truth(samples),
        )
        == {}
    )
    figures = evaluate_folders(ann_file, folder, f'{prefix}.panoptic.json', f'{prefix}.panoptic')
    assert 100 * figures['All']['pq'] == pytest.approx(
        evaluate(build(), samples)['coco_panoptic/PQ'], abs=1e-9
    )


def test_label_zero_without_instance_is_a_segment_and_not_void():
    index = torch.zeros(1, 4, 4, dtype=torch.int16)
    sample = dict(
        img_id=1,
        pred_panoptic_seg=dict(sem_seg=torch.zeros(1, 4, 4, dtype=torch.int32)),
        gt_panoptic_seg=dict(index_map=index),
        gt_segments=dict(labels=torch.tensor([0]), is_crowd=torch.tensor([False])),
    )
    assert (
        evaluate(build(dict(classes=('sky',), thing_classes=())), [sample])['coco_panoptic/PQ_st']
        == 100
    )


def test_ignore_index_of_a_model_is_void(data):
    samples, _, _ = data
    expected = evaluate(build(), samples)
    other = []
    for sample in samples:
        plane = sample['pred_panoptic_seg']['sem_seg'].clone()
        plane[plane == 4] = 255
        other.append(dict(sample, pred_panoptic_seg=dict(sem_seg=plane, ignore_index=255)))
    assert evaluate(build(), other) == expected


def test_classwise_table_names_every_class(data, caplog):
    from cmt_deeplab.evaluation import panoptic_metric

    samples, _, _ = data
    said = []
    original, panoptic_metric.print_log = (
        panoptic_metric.print_log,
        lambda message, **_: said.append(message),
    )
    try:
        evaluate(build(classwise=True), samples)
    finally:
        panoptic_metric.print_log = original
    assert all(name in said[0] for name in META['classes'] + ('All', 'Things', 'Stuff'))


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda s: s.pop('img_id'), 'img_id'),
        (lambda s: s.pop('pred_panoptic_seg'), 'pred_panoptic_seg'),
        (lambda s: s.pop('gt_panoptic_seg'), 'ann_file and seg_prefix'),
        (
            lambda s: s.update(pred_panoptic_seg=dict(sem_seg=torch.full((1, 4, 4), 4))),
            '4 x 4 pixels',
        ),
        (
            lambda s: s.update(pred_panoptic_seg=dict(sem_seg=torch.full((1, 40, 56), 17))),
            'label 17',
        ),
    ],
)
def test_errors_say_what_to_do(data, change, words):
    sample = dict(data[0][0])
    change(sample)
    with pytest.raises(ValueError, match=words):
        build().process({}, [sample])


def test_settings_are_checked_when_built(data):
    _, ann_file, _ = data
    with pytest.raises(ValueError, match='outfile_prefix'):
        build(format_only=True)
    with pytest.raises(FileNotFoundError, match='seg_prefix=/nowhere'):
        build(ann_file=ann_file, seg_prefix='/nowhere')
    with pytest.raises(FileNotFoundError, match='/nowhere.json'):
        build(ann_file='/nowhere.json')
    with pytest.raises(ValueError, match="no category named 'lake'"):
        build(meta=dict(META, classes=('cat', 'dog', 'sky', 'lake')), ann_file=ann_file)
    with pytest.raises(ValueError, match="no 'classes' and 'thing_classes'"):
        build(meta=dict(classes=META['classes']))
