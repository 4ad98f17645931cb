"""The metric for mmengine: equal to mmdet's CocoPanopticMetric, and errors in one sentence."""

import json
import logging
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cmt_deeplab.analysis.segment_rows import NO_CLASS
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation import panoptic_files, panoptic_metric
from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders, folder_scores
from cmt_deeplab.evaluation.panoptic_files import png_name
from mmdet.registry import METRICS
from mmengine.dataset import DefaultSampler
from mmengine.logging import MMLogger
from PIL import Image
from processes import in_processes

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


def test_images_of_two_data_sets_may_have_one_id(data, tmp_path):
    samples, ann_file, folder = data
    first, second = samples[:3], [dict(s, img_id=s['img_id'] - 3) for s in samples[3:]]
    assert evaluate(build(), first + second) == evaluate(build(), samples)
    words = '/x/000001.jpg and /x/000004.jpg both have the img_id 1, by which a panoptic JSON'
    files = dict(ann_file=ann_file, seg_prefix=folder)
    loaded = build(**files)  # as in our configs, where the pipeline loads the truth all the same
    assert evaluate(loaded, first + second) == evaluate(build(), samples)
    plain = without_ground_truth(first + second)
    for metric, given in (
        (build(outfile_prefix=str(tmp_path / 'out')), first + second),
        (build(**files), plain),
    ):
        with pytest.raises(UserError, match=words):
            metric.process({}, given)
    parts = build(**files), build(**files)  # as two processes, of which the first gathers all
    for metric, given in zip(parts, (plain[:3], plain[3:])):
        metric.process({}, given)
    parts[0].results += parts[1].results
    with pytest.raises(UserError, match=words):
        parts[0].evaluate(len(plain))


def test_ids_of_another_type_are_not_called_missing(data):
    samples, ann_file, folder = data
    plain = [dict(s, img_id=str(s['img_id'])) for s in without_ground_truth(samples)]
    with pytest.raises(UserError, match="data set and .* the image ids '1' .str. and 1 .int."):
        build(ann_file=ann_file, seg_prefix=folder).process({}, plain)


def test_ids_of_numpy_and_torch_are_plain_ones(data, tmp_path):
    """As of a data set that was made from a table."""
    samples, ann_file, folder = data
    expected, files = evaluate(build(), samples), dict(ann_file=ann_file, seg_prefix=folder)
    for kind in (np.int64, torch.tensor):
        plain = [dict(s, img_id=kind(s['img_id'])) for s in without_ground_truth(samples)]
        metric = build(outfile_prefix=str(tmp_path / 'out'), **files)
        assert evaluate(metric, plain + plain[:2]) == pytest.approx(expected)
    for wrong in ([1], 1.5, None, True):
        with pytest.raises(UserError, match="'img_id' .* has to be a whole number or a text"):
            build().process({}, [dict(samples[0], img_id=wrong)])
    with pytest.raises(UserError, match="no 'classes' and 'thing_classes'"):
        build(meta=None, **files).process({}, plain)


def test_every_written_prediction_has_a_file_of_its_own(data, tmp_path):
    samples, ann_file, folder = data
    paths = ('/x/a/city.jpg', '/x/b/city.jpg', '/x/000003.jpg', '/y/3.jpg', '/x/5.jpg', None)
    written = [dict(s, img_path=path) for s, path in zip(samples, paths)]
    prefix = str(tmp_path / 'out')
    evaluate(build(outfile_prefix=prefix, ann_file=ann_file), written)
    entries = json.loads((tmp_path / 'out.panoptic.json').read_text())['annotations']
    assert [entry['file_name'] for entry in entries] == [
        *('city_1.png', 'city_2.png', '000003.png', '3_4.png', '5.png', '6.png')
    ]
    figures = evaluate_folders(ann_file, folder, f'{prefix}.panoptic.json', f'{prefix}.panoptic')
    assert 100 * figures['All']['pq'] == pytest.approx(
        evaluate(build(), samples)['coco_panoptic/PQ'], abs=1e-9
    )
    assert png_name('a/1', '/x/1.jpg') == 'a%2F1.png'
    evaluate(build(outfile_prefix=prefix), [dict(samples[0], img_id='..')])
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='file/out.panoptic.json cannot be written'):
        build(outfile_prefix=str(tmp_path / 'file' / 'out'))


def said_by(metric, samples, monkeypatch):
    """The figures, and the warnings in the log."""
    said = []
    monkeypatch.setattr(
        panoptic_metric,
        'print_log',
        lambda message, logger, level=logging.INFO: said.append((level, message)),
    )
    figures = evaluate(metric, samples)
    return figures, [message for level, message in said if level == logging.WARNING]


def test_what_needs_a_word_is_said_once(data, capsys):
    """Not after each validation, for which the logger sees."""
    samples = data[0]
    metric, logger = build(), MMLogger.get_instance('said once')
    for _ in range(2):
        evaluate(metric, samples)
    assert logger is MMLogger.get_current_instance()
    assert capsys.readouterr().out.count('of the ground truth have several segments of one') == 1


def test_what_needs_a_word_is_said(data, monkeypatch):
    samples, ann_file, folder = data
    expected = evaluate(build(), samples)
    content = json.loads(Path(ann_file).read_text())
    for annotation in content['annotations']:
        for segment in annotation['segments_info']:
            segment['area'] /= 4
    Path(ann_file).write_text(json.dumps(content))
    metric, plain = build(ann_file=ann_file, seg_prefix=folder), without_ground_truth(samples)
    figures, said = said_by(metric, plain, monkeypatch)
    assert figures == pytest.approx(expected)
    assert sorted(words.split(f' {ann_file}')[0] for words in said) == [
        '1 images of',
        f'The "area" of {sum(len(a["segments_info"]) for a in content["annotations"])} segments in',
    ]
    assert "have several segments of one stuff class (first: 2 of 'sky' in image 2)" in said[1]
    _, said = said_by(build(), samples, monkeypatch)
    assert [words.split(' have ')[0] for words in said] == ['1 images of the ground truth']


def test_categories_are_found_by_name_and_kind(data):
    samples, ann_file, folder = data
    content = json.loads(Path(ann_file).read_text())
    expected = evaluate(build(), samples)
    content['categories'].reverse()
    Path(ann_file).write_text(json.dumps(content))
    files = dict(ann_file=ann_file, seg_prefix=folder)
    assert evaluate(build(**files), without_ground_truth(samples)) == pytest.approx(expected)
    content['categories'][0]['isthing'] = 1
    Path(ann_file).write_text(json.dumps(content))
    with pytest.raises(UserError, match="segment of the thing 'sea', .*set .a stuff class there."):
        build(**files)
    content['categories'][0] = dict(id=31, name='lake', isthing=0)
    content['categories'].append(dict(id=32, name='sea', isthing=0))
    Path(ann_file).write_text(json.dumps(content))
    with pytest.raises(UserError, match="segment of the stuff class 'lake', which is not among"):
        build(**files)


def test_written_predictions_score_the_same_from_files(data, tmp_path):
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


def with_scores(samples):
    """The samples with a score for each predicted segment, as the merges of this package give."""
    scored = []
    for sample in samples:
        plane = sample['pred_panoptic_seg']['sem_seg']
        info = [dict(id=i, score=round(1 / (1 + i % 97), 6)) for i in plane.unique().tolist()]
        scored.append(sample | dict(pred_panoptic_seg=dict(sem_seg=plane, segments_info=info)))
    return scored


def test_what_is_kept_of_the_images_says_where_pq_is_lost_in_memory_and_from_files(data, tmp_path):
    samples, ann_file, folder = data
    metric = build(outfile_prefix=str(tmp_path / 'run'), ann_file=ann_file)
    figures = evaluate(metric, with_scores(samples))
    assert list(metric.images) == [(s['img_id'], s['img_path']) for s in samples]
    for group, suffix in (('All', ''), ('Things', '_th'), ('Stuff', '_st')):
        lost = 100 * sum(metric.lost_pq[group]['lost'].values())
        assert lost == pytest.approx(100 - figures[f'coco_panoptic/PQ{suffix}'], abs=1e-9)
        assert 100 * metric.figures[group]['pq'] == figures[f'coco_panoptic/PQ{suffix}']
    files = f'{tmp_path}/run.panoptic.json', f'{tmp_path}/run.panoptic'
    _, saved = folder_scores(ann_file, folder, *files)
    labels = {CATEGORIES[label]['id']: label for label in range(4)} | {NO_CLASS: NO_CLASS}
    for image, again in zip(metric.images.values(), saved, strict=True):
        again.segments['category'], again.segments['other'] = (
            [labels[i] for i in again.segments[key].tolist()] for key in ('category', 'other')
        )
        assert sorted(map(repr, image.segments)) == sorted(map(repr, again.segments))
        assert image.quality == pytest.approx(again.quality, abs=1e-9)
        assert not np.isnan(image.segments['score'][image.segments['kind'] < 2]).any()


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


def test_classwise_table_names_every_class(data, monkeypatch):
    samples, _, _ = data
    said = []
    monkeypatch.setattr(panoptic_metric, 'print_log', lambda message, **_: said.append(message))
    evaluate(build(classwise=True), samples)
    assert all(name in said[0] for name in META['classes'] + ('All', 'Things', 'Stuff'))


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda s: s.pop('img_id'), 'img_id'),
        (lambda s: s.pop('pred_panoptic_seg'), 'pred_panoptic_seg'),
        (lambda s: s.pop('gt_panoptic_seg'), 'ann_file and seg_prefix; .*format_only=True'),
        (
            lambda s: s.update(pred_panoptic_seg=dict(sem_seg=torch.zeros(1, 40, 56))),
            r'sem_seg of image 1 is torch.float32 \(1, 40, 56\), but PQ needs whole numbers',
        ),
        (
            lambda s: s.update(pred_panoptic_seg=dict(sem_seg=torch.zeros(40, 56).long())),
            r'is torch.int64 \(40, 56\), but',
        ),
        (lambda s: s.update(pred_panoptic_seg=dict(sem_seg=np.zeros((1, 40, 56), int))), 'ndarray'),
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


def test_a_class_that_no_image_shows_may_be_missing_in_the_file(data, tmp_path):
    _, ann_file, folder = data
    classes = META['classes'] + ('lake',)
    meta = dict(META, classes=classes, stuff_classes=META['stuff_classes'] + ('lake',))
    build(meta=meta, ann_file=ann_file, seg_prefix=folder)
    with pytest.raises(UserError, match="not have the stuff class 'lake'.* add it to .categories"):
        build(meta=meta, ann_file=ann_file, outfile_prefix=str(tmp_path / 'written'))


def test_settings_are_checked_when_built(data):
    _, ann_file, _ = data
    with pytest.raises(ValueError, match='outfile_prefix'):
        build(format_only=True)
    with pytest.raises(FileNotFoundError, match='seg_prefix=/nowhere'):
        build(ann_file=ann_file, seg_prefix='/nowhere')
    with pytest.raises(FileNotFoundError, match='/nowhere.json'):
        build(ann_file='/nowhere.json')
    Path(ann_file).write_text(json.dumps(dict(images=[], categories=CATEGORIES)))  # a test set
    build(ann_file=ann_file, format_only=True, outfile_prefix=ann_file)
    with pytest.raises(UserError, match='has no ground truth'):
        build(ann_file=ann_file, seg_prefix=os.path.dirname(ann_file))
    many = tuple(map(str, range(1000)))
    with pytest.raises(UserError, match='PanopticQualityMetric: .* at most 999 classes'):
        build(meta=dict(classes=many, thing_classes=many, stuff_classes=()))
    with pytest.raises(ValueError, match="no 'classes' and 'thing_classes'"):
        build(meta=dict(classes=META['classes']))


def test_figures_are_there_though_predictions_cannot_be_written(data, tmp_path, monkeypatch):
    """Neither the PNGs nor the JSON; a run that wants nothing else stops at the first one."""
    samples, ann_file, _ = data
    expected, said = evaluate(build(), samples), []
    for module in (panoptic_metric, panoptic_files):
        monkeypatch.setattr(module, 'print_log', lambda text, **options: said.append(text))
    for name in ('png.panoptic', 'json.panoptic.json'):
        prefix = tmp_path / name.partition('.')[0]
        metric = build(outfile_prefix=str(prefix), ann_file=ann_file)
        assert evaluate(metric, samples) == expected and metric.unwritten is None
        alone = build(outfile_prefix=str(prefix), ann_file=ann_file, format_only=True)
        shutil.rmtree(f'{prefix}.panoptic')
        path = tmp_path / name
        path.unlink(missing_ok=True)
        path.symlink_to('/dev/full' if 'json' in name else tmp_path / 'file')
        (tmp_path / 'file').write_text('')
        said.clear()
        assert evaluate(metric, samples) == expected
        sentence = f'{path}.* cannot be written'
        assert re.search(sentence, metric.unwritten) and metric.unwritten.endswith('.')
        assert 'All       |' in said[0] and said[-1] == metric.unwritten
        with pytest.raises(UserError, match=sentence):
            evaluate(alone, samples)
        path.unlink()
        assert evaluate(metric, samples) == expected and metric.unwritten is None


def score_a_share(samples):
    os.chdir('/proc')
    share = [samples[index] for index in DefaultSampler(samples, shuffle=False)]
    return evaluate(build(), share, size=len(samples))


def test_processes_count_every_image_once(data):
    """Five images on four processes, which start where nothing can be written."""
    samples = data[0][:5]
    expected = evaluate(build(), samples)
    assert 0 < expected['coco_panoptic/PQ'] < 100
    assert in_processes(4, score_a_share, samples) == [expected] * 4
