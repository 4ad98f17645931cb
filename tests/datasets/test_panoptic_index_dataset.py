"""The data sets: what they yield, and one sentence for all that can be wrong with the files."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from cmt_deeplab.datasets import PanopticIndexDataset
from cmt_deeplab.datasets.shape_forms import STUFF_CLASSES, THING_CLASSES
from cmt_deeplab.errors import UserError
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS
from mmengine.config import Config
from torch.utils.data import DataLoader

REPOSITORY = Path(__file__).resolve().parents[2]
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap')]
TRAIN = [*LOAD, dict(type='PackPanopticInputs')]


def build(root, pipeline=TRAIN, split='train', type='ShapesPanopticDataset', **kwargs):
    config = dict(
        type=type,
        data_root=str(root),
        ann_file=f'annotations/panoptic_{split}2017.json',
        pipeline=pipeline,
        data_prefix=dict(img=f'{split}2017/', seg=f'annotations/panoptic_{split}2017/'),
    )
    return DATASETS.build({**config, **kwargs})


@pytest.fixture
def root(shapes_root, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(shapes_root, tmp_path / 'shapes')


@pytest.fixture
def edit(root):
    """Change the training annotation file: ``edit(lambda content: ...)``."""

    def change(function):
        path = root / 'annotations' / 'panoptic_train2017.json'
        content = json.loads(path.read_text())
        replaced = function(content)
        path.write_text(json.dumps(content if replaced is None else replaced))
        return path

    return change


def one_sentence(error) -> str:
    text = str(error.value)
    assert '\n' not in text and text.endswith('.'), text
    return text


def test_what_it_yields(shapes_root):
    dataset = build(shapes_root)
    assert len(dataset) == 12 and dataset.serialize_data and len(dataset.data_list) == 0
    content = json.loads((shapes_root / 'annotations/panoptic_train2017.json').read_text())
    names = {c['id']: c['name'] for c in content['categories']}
    for i in range(len(dataset)):
        sample, segments = dataset[i]['data_samples'], content['annotations'][i]['segments_info']
        kept = [s for s in segments if not s['iscrowd']]
        assert sample.gt_segments.ids.tolist() == [s['id'] for s in kept]
        assert [dataset.metainfo['classes'][k] for k in sample.gt_segments.labels] == [
            names[s['category_id']] for s in kept
        ]
        areas = np.bincount(
            sample.gt_panoptic_seg.index_map.numpy().ravel() + 1, minlength=len(kept) + 1
        )
        assert areas[1:].tolist() == [s['area'] for s in kept]


def test_config_builds_and_loads_in_a_worker(shapes_root):
    config = Config.fromfile(str(REPOSITORY / 'configs/_base_/datasets/shapes_panoptic.py'))
    for part in ('train', 'val', 'test'):
        dataset = DATASETS.build(
            {**config[f'{part}_dataloader'].dataset, 'data_root': str(shapes_root)}
        )
        assert len(dataset.metainfo['thing_classes']) == config.num_things_classes
        assert len(dataset.metainfo['stuff_classes']) == config.num_stuff_classes
        loader = DataLoader(
            dataset,
            batch_size=2,
            num_workers=1 if part == 'train' else 0,
            collate_fn=lambda batch: batch,
        )
        for packed in next(iter(loader)):
            index, image = packed['data_samples'].gt_panoptic_seg.index_map, packed['inputs']
            if part == 'train':
                assert index.shape[1:] == image.shape[1:] and max(image.shape[1:]) <= max(
                    config.image_size
                )
            else:
                assert index.shape == (1, 96, 96) and image.shape == (3, *config.image_size)


def test_coco_config_on_real_images(real_data):
    config = Config.fromfile(str(REPOSITORY / 'configs/_base_/datasets/coco_panoptic_index.py'))
    np.random.seed(0)
    for pipeline in (config.train_pipeline, config.copy_paste_pipeline):
        dataset = DATASETS.build(
            {
                **config.train_dataloader.dataset,
                'data_root': str(real_data / 'coco'),
                'pipeline': pipeline,
            }
        )
        assert len(dataset) == 100
        for i in range(0, 100, 10):
            packed = dataset[i]
            index, labels = (
                packed['data_samples'].gt_panoptic_seg.index_map,
                packed['data_samples'].gt_segments.labels,
            )
            assert index.shape[1:] == packed['inputs'].shape[1:] and max(index.shape) <= 641
            assert sorted(set(index.unique().tolist()) - {-1, -2}) == list(range(len(labels)))
            stuff = labels[labels >= 80]
            assert len(stuff.unique()) == len(stuff)
    dataset = DATASETS.build(
        {**config.val_dataloader.dataset, 'data_root': str(real_data / 'coco')}
    )
    for i in range(0, 100, 10):
        sample = dataset[i]['data_samples']
        assert (
            tuple(sample.gt_panoptic_seg.index_map.shape[1:]) == sample.ori_shape
            and max(sample.img_shape) == 641
        )


def test_a_leaf_changes_the_size_in_the_documented_lines(tmp_path):
    base = REPOSITORY / 'configs/_base_/datasets/coco_panoptic_index.py'
    (tmp_path / 'leaf.py').write_text(f"""_base_ = ['{base}']
image_size = (321, 321)
pipeline = {{{{_base_.copy_paste_pipeline}}}}
train_dataloader = dict(dataset=dict(image_size=image_size, pipeline=pipeline))
val_dataloader = dict(dataset=dict(image_size=image_size))
test_dataloader = val_dataloader
""")
    config = Config.fromfile(str(tmp_path / 'leaf.py'))
    for part in ('train', 'val', 'test'):
        assert tuple(config[f'{part}_dataloader'].dataset.image_size) == (321, 321)
    assert any(t['type'] == 'PanopticCopyPaste' for t in config.train_dataloader.dataset.pipeline)
    assert config.train_dataloader.dataset.type == 'PanopticIndexDataset'


def test_images_without_a_thing_stay(root, edit):

    def only_stuff_crowd_nothing(content):
        segments = [a['segments_info'] for a in content['annotations']]
        segments[0][:] = [s for s in segments[0] if s['category_id'] >= 100]
        for s in segments[1]:
            s['iscrowd'] = 1
        del content['annotations'][2]
        content['annotations'][2]['segments_info'] = []
        for annotation in (content['annotations'][0], content['annotations'][2]):  # the PNGs follow
            path = str(root / 'annotations' / 'panoptic_train2017' / annotation['file_name'])
            png = cv2.imread(path)
            ids = png.astype(int) @ (65536, 256, 1)
            png[~np.isin(ids, [s['id'] for s in annotation['segments_info']])] = 0
            cv2.imwrite(path, png)

    edit(only_stuff_crowd_nothing)
    assert [build(root, pipeline=[]).get_data_info(i)['img_id'] for i in range(3)] == [1, 5, 6]
    assert len(build(root, pipeline=[])) == 9
    assert len(build(root, pipeline=[], filter_cfg=dict(filter_empty_gt=False))) == 12
    with pytest.raises(
        ValueError, match='of at least min_size=500 pixels with a segment that is no'
    ) as error:
        build(root, filter_cfg=dict(min_size=500))
    one_sentence(error)


def test_a_test_set_without_truth(root, edit):
    edit(lambda content: content.pop('annotations') and None)
    dataset = build(
        root, test_mode=True, pipeline=[*LOAD, dict(type='PackPanopticInputs', crowd_as_void=False)]
    )
    assert 'gt_panoptic_seg' not in dataset[0]['data_samples']
    with pytest.raises(ValueError, match='has no annotations, so nothing can be learned'):
        build(root)


def renumber(content):
    """The same classes under ids in the opposite order, and listed in the opposite order."""
    ids = sorted(category['id'] for category in content['categories'])
    new = dict(zip(ids, ids[::-1]))
    for entry in content['categories']:
        entry['id'] = new[entry['id']]
    for annotation in content['annotations']:
        for segment in annotation['segments_info']:
            segment['category_id'] = new[segment['category_id']]
    content['categories'].sort(key=lambda category: category['id'])


@pytest.mark.parametrize('change', [lambda content: content['categories'].reverse(), renumber])
def test_labels_follow_names_whatever_the_order_and_the_ids(root, edit, change):
    """The right value: reordered categories give the same labels, and so the same figures."""
    kinds = ('PanopticIndexDataset', 'ShapesPanopticDataset')
    before = [build(root, type=kind) for kind in kinds]
    edit(change)
    for old, new in zip(before, [build(root, type=kind) for kind in kinds]):
        assert old.metainfo == new.metainfo
        for one, other in zip(old, new):
            labels = one['data_samples'].gt_segments.labels
            assert labels.tolist() == other['data_samples'].gt_segments.labels.tolist()


def test_classes_of_the_annotation_file(root, edit, real_data):
    assert PanopticIndexDataset(lazy_init=True).metainfo == {}, 'not read yet'
    metainfo = build(root, type='PanopticIndexDataset').metainfo
    assert metainfo['classes'][:2] == ('cross', 'disk') and len(metainfo['stuff_classes']) == 5
    coco = CocoPanopticDataset.METAINFO
    whole = build(real_data / 'coco', split='val', type='PanopticIndexDataset', test_mode=True)
    assert whole.metainfo['classes'] == (*coco['thing_classes'], *coco['stuff_classes'])
    names = dict(zip(metainfo['classes'], coco['thing_classes'][:6] + coco['stuff_classes'][:5]))
    edit(lambda c: [k.update(name=names[k['name']]) for k in c['categories']] and None)
    part = build(root, type='PanopticIndexDataset').metainfo
    assert sorted(part['classes']) == sorted(names.values()), 'a part of COCO is not COCO'


def test_classes_of_a_subclass_are_stated(shapes_root):
    assert len(build(shapes_root, lazy_init=True).metainfo['classes']) == 11
    colors = [(k, 0, 0) for k in range(11)]
    changed = build(shapes_root, metainfo=dict(palette=colors)).metainfo
    assert changed['palette'] == colors and changed['classes'][0] == 'disk'


def test_names_that_differ_in_case_alone(root, edit):
    edit(lambda c: next(k for k in c['categories'] if k['name'] == 'square').update(name='Disk'))
    with pytest.warns(UserWarning, match="'Disk' and 'disk' .* differ in case or spaces alone"):
        build(root, type='PanopticIndexDataset', pipeline=[])
    with pytest.raises(UserError, match=r"the thing 'Disk', .* \(is 'disk' meant\?\)") as error:
        build(root)
    one_sentence(error)


def test_boxes_are_asked_for_only_where_they_are_read(root, edit):
    def spoil(content):
        for annotation in content['annotations']:
            for segment in annotation['segments_info']:
                segment['bbox'] = []

    edit(spoil)
    assert build(root)[0]['data_samples'].gt_segments.labels.numel()
    theirs = [LOAD[0], dict(type='LoadPanopticAnnotations'), dict(type='PackDetInputs')]
    with pytest.raises(UserError, match='of image 1 has no "bbox"') as error:
        build(root, pipeline=theirs)
    one_sentence(error)


def test_metainfo_by_config(root):
    wanted = dict(
        thing_classes=['cross', 'ring', 'star', 'triangle', 'square', 'disk'],
        stuff_classes=['gradient', 'grain', 'dots', 'checks', 'stripes'],
    )
    dataset = build(root, metainfo=wanted)
    assert (
        dataset.metainfo['classes'] == (*wanted['thing_classes'], *wanted['stuff_classes'])
        and len(dataset.metainfo['palette']) == 11
    )
    default = build(root)
    ours, theirs = (d[0]['data_samples'].gt_segments.labels for d in (dataset, default))
    assert [dataset.metainfo['classes'][k] for k in ours] == [
        default.metainfo['classes'][k] for k in theirs
    ]


@pytest.mark.parametrize(
    'metainfo, message',
    [
        (
            dict(thing_classes=['disk'], stuff_classes=['stripes']),
            "segment of the stuff class 'dots', which is not among the classes of the data set:",
        ),
        (
            dict(thing_classes=THING_CLASSES[:4], stuff_classes=(*STUFF_CLASSES, 'ring', 'cross')),
            r"the thing '(ring|cross)', .* \(a stuff class there\)",
        ),
        (dict(thing_classes='disk', stuff_classes=[]), "thing_classes .* is 'disk': give a list"),
        (dict(thing_classes=['disk'], stuff_classes=[], palette='coco'), "palette .* is 'coco'"),
        (dict(thing_classes=['disk']), "has no 'stuff_classes'"),
        (dict(thing_classes=['disk'], stuff_classes=['disk']), 'stand twice'),
        (
            dict(thing_classes=['disk'], stuff_classes=['stripes'], classes=['disk']),
            'leave classes out',
        ),
        (
            dict(thing_classes=['disk'], stuff_classes=['stripes'], palette=[(1, 2, 3)]),
            'to each of its 2 classes',
        ),
    ],
)
def test_wrong_metainfo(shapes_root, metainfo, message):
    with pytest.raises(ValueError, match=message) as error:
        build(shapes_root, metainfo=metainfo)
    one_sentence(error)


def first_segment(content):
    return content['annotations'][0]['segments_info'][0]


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: [1, 2], 'holds a list, not a dict'),
        (lambda c: c.pop('categories') and None, 'has no list "categories"'),
        (
            lambda c: [a.pop('segments_info') for a in c['annotations']] and None,
            '"annotations" has an entry without "segments_info" .*: add it, or give a COCO',
        ),
        (
            lambda c: c['categories'][0].pop('isthing') and None,
            '"categories" has an entry without "isthing"',
        ),
        (lambda c: c['images'][0].pop('height') and None, '"images" has an entry without "height"'),
        (
            lambda c: c['annotations'][0].pop('file_name') and None,
            '"annotations" has an entry without "file_name"',
        ),
        (lambda c: first_segment(c).pop('id') and None, 'of image 1 has an entry without "id"'),
        (lambda c: c['annotations'][0].update(segments_info=[3]), 'has the entry 3, not a dict'),
        (
            lambda c: first_segment(c).update(id=2**24),
            '"id" is 16777216 .int., .* from 1 to 16777215',
        ),
        (
            lambda c: first_segment(c).update(category_id=999),
            '"category_id" is 999 .int., .* the id of a category of the data set',
        ),
        (lambda c: c['images'].clear(), 'lists no image'),
        (
            lambda c: c['images'][0].update(height='96'),
            '"height" is \'96\' .str., .* a positive whole number of pixels',
        ),
        (lambda c: c['images'].append(c['images'][0]), '"images" has two entries with the "id" 1'),
        (
            lambda c: c['annotations'].append(c['annotations'][0]),
            '"annotations" has two entries with the "image_id" 1',
        ),
        (
            lambda c: c['annotations'][0]['segments_info'].append(first_segment(c)),
            '"segments_info" of image 1 has two entries with the "id"',
        ),
        (
            lambda c: c['categories'].append(dict(c['categories'][0], name='other')),
            '"categories" has two entries with the "id" 10',
        ),
        (lambda c: first_segment(c).update(category_id=[10]), '"category_id" is .10. .list.'),
        (
            lambda c: first_segment(c).update(iscrowd=None),
            '"iscrowd" is None .NoneType., .* 0, 1, true or false',
        ),
        (
            lambda c: c['images'].pop(0) and None,
            'has image 1, which the list "images" of .* lacks: add it there',
        ),
    ],
)
def test_wrong_annotation_file(root, edit, change, message):
    path = edit(change)
    with pytest.raises(ValueError, match=message) as error:
        build(root)
    assert str(path) in one_sentence(error)


def test_detection_annotations_are_recognized(root, edit):
    boxes = [dict(id=1, image_id=1, bbox=[0, 0, 1, 1], category_id=10)]
    edit(lambda c: dict(images=c['images'], annotations=boxes, categories=c['categories']))
    with pytest.raises(ValueError, match='not one for boxes or instances') as error:
        build(root)
    one_sentence(error)


def test_evaluation_needs_every_annotation(root, edit):
    edit(lambda c: c['annotations'].pop(0) and None)
    with pytest.raises(
        ValueError, match='no annotation for image 1, so it cannot be evaluated'
    ) as error:
        build(root, test_mode=True)
    one_sentence(error)


def test_missing_and_broken_json(root):
    path = root / 'annotations/panoptic_train2017.json'
    path.write_text(path.read_text()[:200])
    with pytest.raises(ValueError, match='cannot be read as JSON') as error:
        build(root)
    one_sentence(error)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='put it there or correct the path') as error:
        build(root)
    assert str(path) in one_sentence(error)
    with pytest.raises(ValueError, match='ann_file of the data set is empty'):
        build(root, ann_file='')


@pytest.mark.parametrize(
    'folder, prefix', [('train2017', 'img'), ('annotations/panoptic_train2017', 'seg')]
)
def test_missing_files_are_named_before_training(root, folder, prefix):
    gone = root / folder / '000000000003.png'
    gone.unlink()
    with pytest.raises(
        FileNotFoundError, match=f'There is no file .*, although .* data_prefix.{prefix}'
    ) as error:
        build(root)
    assert str(gone) in one_sentence(error)
    shutil.rmtree(root / folder)
    with pytest.raises(
        FileNotFoundError, match=f'The folder .* does not exist: .* data_prefix.{prefix}'
    ) as error:
        build(root)
    assert folder in one_sentence(error)


def png_of(root, number=1):
    return root / 'annotations/panoptic_train2017' / f'{number:012d}.png'


def test_png_and_json_disagree(root, edit):
    dataset, path = build(root), png_of(root)
    pixels = cv2.imread(str(path))
    stored = path.read_bytes()

    cv2.imwrite(str(path), pixels[:90])
    with pytest.raises(
        ValueError, match='is 96 x 90 pixels but its size in the annotation file is 96 x 96: make'
    ) as error:
        dataset[0]
    assert str(path) in one_sentence(error)

    changed = pixels.copy()
    changed[:8, :8] = (0, 0, 77)  # B, G, R: id 77
    cv2.imwrite(str(path), changed)
    with pytest.raises(
        ValueError, match='has the segment id 77, which segments_info of image 1 lacks'
    ) as error:
        dataset[0]
    assert str(path) in one_sentence(error)

    path.write_bytes(stored)
    edit(
        lambda c: c['annotations'][0]['segments_info'].append(
            dict(id=4242, category_id=10, iscrowd=0)
        )
    )
    with pytest.raises(
        ValueError, match='image 1 has the segment id 4242, which .* lacks'
    ) as error:
        build(root)[0]
    assert str(path) in one_sentence(error)

    edit(lambda c: c['annotations'][0]['segments_info'][-1].update(area=0))  # may be absent
    sample = build(root)[0]['data_samples']
    assert 4242 not in sample.gt_segments.ids and len(sample.gt_segments) > 0

    edit(lambda c: c['images'][0].update(height=50))
    with pytest.raises(ValueError, match='its size in the annotation file is 96 x 50'):
        build(root)[0]


def test_image_size_differs_from_the_png(root):
    path = root / 'train2017' / '000000000004.png'  # the truth of this one is not read before
    cv2.imwrite(str(path), np.zeros((96, 50, 3), np.uint8))
    with pytest.raises(ValueError, match='The image .* is 50 x 96 pixels but its size in') as error:
        build(root)
    assert str(path) in one_sentence(error)


def test_truncated_or_missing_png(root):
    dataset, path = build(root), png_of(root)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        ValueError, match='is truncated or damaged: fetch or write it again'
    ) as error:
        dataset[0]
    assert str(path) in one_sentence(error)
    cv2.imwrite(str(path), np.full((96, 96), 7, np.uint8))
    with pytest.raises(UserError, match='is a gray or palette PNG') as error:
        dataset[0]
    assert str(path) in one_sentence(error)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='does not exist: put it there') as error:
        dataset[0]
    assert str(path) in one_sentence(error)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_damage_is_found_before_training(root, split, monkeypatch):
    """In the file that is read last too; of large sets only what every file shares."""
    image, png = (
        sorted((root / f'{split}2017').iterdir())[-1],
        sorted((root / f'annotations/panoptic_{split}2017').iterdir())[-1],
    )
    for path, message in (
        (image, 'The image .* is truncated'),
        (png, 'The panoptic PNG .* is truncated'),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[:-40])
        with pytest.raises(ValueError, match=message) as error:
            build(root, split=split, test_mode=split == 'val')
        assert str(path) in one_sentence(error)
        path.write_bytes(whole)
    whole = png.read_bytes()
    cv2.imwrite(str(png), cv2.imread(str(png))[:50])
    with pytest.raises(
        ValueError, match='is 96 x 50 pixels but its size in the annotation file is 96 x 96'
    ):
        build(root, split=split)
    png.write_bytes(whole)
    monkeypatch.setattr('cmt_deeplab.datasets.file_check.MOST_CHECKED', 2)
    image.write_bytes(b'')
    build(root, split=split)
    for path in png.parent.iterdir():
        cv2.imwrite(str(path), np.full((96, 96, 3), 7, np.uint8))
    with pytest.raises(ValueError, match='has the segment id 460551'):
        build(root, split=split)


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda b: b[: len(b) // 2], 'is truncated or damaged'),
        (lambda b: b'', 'is empty'),
        (lambda b: b'<html>not found</html>', 'is not an image'),
    ],
)
def test_damaged_images(root, edit, extension, damage, message):
    old = root / 'train2017' / '000000000001.png'
    path = old.with_suffix(extension)
    cv2.imwrite(str(path), cv2.imread(str(old)))
    edit(lambda c: c['images'][0].update(file_name=path.name))
    dataset = build(root)
    whole = path.read_bytes()
    path.write_bytes(whole + b'\0' * 100)  # bytes after the end harm nobody
    dataset[0]
    path.write_bytes(damage(whole))
    with pytest.raises(ValueError, match=message) as error:
        dataset[0]
    assert str(path) in one_sentence(error)


def test_mmdets_data_set_lacks_what_the_loader_needs(shapes_root):
    dataset = build(
        shapes_root,
        type='CocoPanopticDataset',
        metainfo=build(shapes_root, lazy_init=True).metainfo,
    )
    with pytest.raises(ValueError, match='use the data set type PanopticIndexDataset') as error:
        dataset[0]
    one_sentence(error)


def test_balanced_sampling_sees_stuff(shapes_root):
    wrapped = DATASETS.build(
        dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=build(shapes_root))
    )
    assert len(wrapped) >= 12
    assert any(label >= 6 for label in build(shapes_root).get_cat_ids(0))


def test_mmdets_visualizer_draws_the_truth(shapes_root):
    from mmdet.registry import VISUALIZERS

    visualizer = VISUALIZERS.build(dict(type='DetLocalVisualizer', name='truth'))
    dataset = build(shapes_root)
    visualizer.dataset_meta = dataset.metainfo
    packed = dataset[0]
    image = np.ascontiguousarray(packed['inputs'].permute(1, 2, 0).numpy())
    visualizer.add_datasample('truth', image, packed['data_samples'], draw_pred=False)
    assert (visualizer.get_image() != image).mean() > 0.5
