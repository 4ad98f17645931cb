"""Faulty images: the run stops at the first one, or leaves them out and says so."""

import json
import shutil

import cv2
import numpy as np
import pytest
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.datasets import LoadPanopticIndexMap
from cmt_deeplab.errors import UserError
from mmdet.registry import DATASETS, RUNNERS
from processes import in_processes

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PackPanopticInputs', crowd_as_void=False),
]


def build(root, split='train', **kwargs):
    config = dict(
        type='ShapesPanopticDataset',
        data_root=str(root),
        ann_file=f'annotations/panoptic_{split}2017.json',
        data_prefix=dict(img=f'{split}2017/', seg=f'annotations/panoptic_{split}2017/'),
        pipeline=PIPELINE,
    )
    return DATASETS.build(config | kwargs)


def damage_five(root, split):
    """Spoil five images in five ways; the names of their files."""
    images = sorted((root / f'{split}2017').iterdir())
    pngs = sorted((root / f'annotations/panoptic_{split}2017').iterdir())
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:-200])
    middle = bytearray(images[2].read_bytes())
    middle[100:300] = bytes(200)
    images[2].write_bytes(middle)
    cv2.imwrite(str(pngs[3]), np.full((96, 96, 3), 7, np.uint8))
    cv2.imwrite(str(images[4]), cv2.imread(str(images[4]))[:50])
    return [image.name for image in images[:5]]


@pytest.fixture
def root(shapes_root, tmp_path):
    return shutil.copytree(shapes_root, tmp_path / 'shapes')


def test_faulty_images_are_left_out(root):
    names = damage_five(root, 'train')
    with pytest.raises(UserError, match='There is no file'):
        build(root)
    dataset = build(root, skip_faulty_images=True)
    assert len(dataset) == 7 and len(dataset.skipped_images) == 5
    for name, sentence in zip(names, dataset.skipped_images):
        assert name in sentence and sentence.endswith('.')
    reasons = '\n'.join(dataset.skipped_images)
    for reason in ('does not exist', 'is truncated or damaged', 'segment id 460551', '96 x 50'):
        assert reason in reasons
    seen = [dataset[i]['data_samples'].img_path.rpartition('/')[2] for i in range(7)]
    assert len({*seen, *names}) == 12


def test_a_test_set_is_shorter_too(root):
    dataset = build(root, 'val', test_mode=True, skip_faulty_images=True)
    assert len(dataset) == 6 and not dataset.skipped_images
    damage = sorted((root / 'val2017').iterdir())[2]
    damage.write_bytes(b'')
    dataset = build(root, 'val', test_mode=True, skip_faulty_images=True)
    assert len(dataset) == 5 and str(damage) in dataset.skipped_images[0]
    assert [dataset.get_data_info(i)['img_id'] for i in range(5)] == [1, 2, 4, 5, 6]


@pytest.mark.parametrize(
    'wrong', [dict(img='nowhere/'), dict(seg='val2017/'), dict(img='val2017/')]
)
def test_a_fault_of_the_whole_set_stops_the_run(root, wrong):
    prefix = dict(img='train2017/', seg='annotations/panoptic_train2017/') | wrong
    with pytest.raises(UserError, match='which is a fault of the whole data set') as error:
        build(root, skip_faulty_images=True, data_prefix=prefix)
    assert '\n' not in str(error.value)


def test_faults_of_the_annotation_file_are_not_skipped(root):
    path = root / 'annotations/panoptic_train2017.json'
    content = json.loads(path.read_text())
    content['annotations'][3]['segments_info'][0]['category_id'] = 99
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match='"category_id" is 99'):
        build(root, skip_faulty_images=True)


def leave_out(root):
    """How many images are left, the skipped ones, and those that this process read."""
    read, transform = [], LoadPanopticIndexMap.transform

    def counted(self, results):
        read.append(results['img_id'])
        return transform(self, results)

    LoadPanopticIndexMap.transform = counted  # in a process of its own
    dataset = build(root, skip_faulty_images=True)
    return len(dataset), dataset.skipped_images, read


def test_processes_share_the_reading_and_leave_out_the_same(root):
    damage_five(root, 'train')
    alone = build(root, skip_faulty_images=True)
    found = in_processes(2, leave_out, root)
    for length, skipped, _ in found:
        assert length == len(alone) and skipped == alone.skipped_images
    first, second = (set(read) for _, _, read in found)
    assert not first & second and len(first | second) >= len(alone)


def test_a_run_says_what_it_left_out(root, tmp_path):
    """Beside the figures of each evaluation, and at the end of the run."""
    for split, number in (('train', 3), ('val', 1)):
        for image in sorted((root / f'{split}2017').iterdir())[:number]:
            image.write_bytes(b'')
    config = read_config('cmt-deeplab_tiny_shapes')
    config.work_dir = str(tmp_path / 'run')
    ann_file = str(root / 'annotations/panoptic_val2017.json')
    truth = dict(ann_file=ann_file, seg_prefix=str(root / 'annotations/panoptic_val2017'))
    data = dict(dataset=dict(data_root=str(root), skip_faulty_images=True), num_workers=0)
    data = dict(data, persistent_workers=False)
    config.merge_from_dict(
        dict(
            train_dataloader=dict(data, batch_size=2),
            val_dataloader=data,
            test_dataloader=data,
            val_evaluator=truth,
            test_evaluator=truth,
            train_cfg=dict(max_iters=1, val_interval=1),
        )
    )
    runner = RUNNERS.build(config)
    runner.train()
    assert len(runner.train_dataloader.dataset) == 9
    assert runner.message_hub.get_scalar('val/skipped_images').current() == 1
    assert len(runner.val_evaluator.metrics[0].dataset_meta['classes']) == 11
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'skipped_images: 1' in log
    end = log.rpartition('train_dataloader left out 3 faulty images:')[2]
    assert 'val_dataloader left out 1 faulty images:' in end
    for k in (1, 2, 3):
        assert f'The image {root}/train2017/{k:012}.png is empty' in end
