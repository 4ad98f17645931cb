"""A config on own data says where they are and how large; the classes come from the JSON."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.config_names import project_folder
from cmt_deeplab.datasets import write_shapes
from cmt_deeplab.errors import UserError
from cmt_deeplab.own_training.choices import choose
from cmt_deeplab.own_training.data_config import own_data
from cmt_deeplab.own_training.models import RECIPES, recipe
from mmengine.config import Config

LEAF = """_base_ = {base!r}
from cmt_deeplab.own_training.data_config import own_data

data = own_data({root!r}, image_size=64)
model = data.model
train_dataloader, val_dataloader = data.train_dataloader, data.val_dataloader
test_dataloader = val_dataloader
del data
"""


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('own') / 'shapes'
    write_shapes(root, num_train=4, num_val=2, size=64)
    return root


@pytest.fixture(scope='module')
def short(shapes) -> Path:
    path = shapes.parent / 'short.py'
    base = project_folder() / 'configs/_base_/own_data/cmt-tiny.py'
    path.write_text(LEAF.format(base=str(base), root=str(shapes)), encoding='utf-8')
    return path


def test_classes_and_sizes_are_read_from_the_data(short, shapes):
    assert len(short.read_text().splitlines()) <= 10
    cfg = Config.fromfile(str(short))
    assert (cfg.model.num_things_classes, cfg.model.num_stuff_classes) == (6, 5)
    sizes = [cfg[f'{split}_dataloader'].dataset.image_size for split in ('train', 'val', 'test')]
    assert {*map(tuple, sizes), tuple(cfg.model.data_preprocessor.size)} == {(64, 64)}
    assert Path(cfg.train_dataloader.dataset.ann_file).is_file()
    assert 'data' not in cfg


def test_the_full_config_says_the_same_without_the_data(short, tmp_path):
    cfg = Config.fromfile(str(short))
    cfg.dump(str(tmp_path / 'full.py'))
    assert 'own_data(' not in (tmp_path / 'full.py').read_text()
    assert Config.fromfile(str(tmp_path / 'full.py')).to_dict() == cfg.to_dict()


def test_a_folder_that_is_missing_is_no_missing_base(tmp_path):
    path, base = tmp_path / 'leaf.py', project_folder() / 'configs/_base_/own_data/cmt-tiny.py'
    path.write_text(LEAF.format(base=str(base), root=str(tmp_path / 'gone')), encoding='utf-8')
    with pytest.raises(UserError, match=r'because of line 4: There is no folder .*gone: correct'):
        read_config(str(path))


def test_a_hook_of_the_user_leaves_the_report(short):
    leaf = short.with_name('hook.py')
    leaf.write_text(short.read_text() + "custom_hooks = [dict(type='EMAHook')]\n")
    assert Config.fromfile(str(leaf)).default_hooks.report.type == 'PanopticReportHook'


def test_inference_takes_the_short_config(short, tmp_path):
    from mmdet.apis import init_detector
    from mmdet.registry import DATASETS, MODELS

    cfg = Config.fromfile(str(short))
    model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=DATASETS.build(cfg.val_dataloader.dataset).metainfo)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'c.pth')
    detector = init_detector(str(short), str(tmp_path / 'c.pth'), device='cpu')
    assert detector.num_classes == len(detector.dataset_meta['classes']) == 11


def test_one_image_is_not_enough(tmp_path):
    write_shapes(tmp_path / 'one', num_train=1, num_val=1, size=64)
    for path in (tmp_path / 'one').glob('**/*val2017*'):
        if path.is_file():
            path.unlink()
    with pytest.raises(UserError, match='no image'):
        own_data(tmp_path / 'one', image_size=64)


def most_segments(root: Path) -> int:
    annotations = json.loads((root / 'annotations/panoptic_train2017.json').read_text())
    return max(len(annotation['segments_info']) for annotation in annotations['annotations'])


def test_many_small_things_get_centers_and_fine_masks(tmp_path):
    from cmt_deeplab.own_data import open_data

    def chosen(name, num_centers):
        split = open_data(tmp_path / name).train
        return choose(split, num_centers=num_centers, side=320, align_corners=False)

    for name, preset in (('shapes', 'quick'), ('nuclei', 'nuclei')):
        write_shapes(tmp_path / name, preset=preset, num_train=2, num_val=1)
    needed = int(1.25 * most_segments(tmp_path / 'shapes') + 5)  # and 5 classes of stuff
    few, many = chosen('shapes', needed), chosen('nuclei', needed)
    assert (few.num_centers, few.stride) == (needed, 4)
    assert many.num_centers > most_segments(tmp_path / 'nuclei') > 128 and many.stride == 2
    assert 'too few' in many.sentences[0] and 'too few' not in few.sentences[0]
    assert 'too few' in chosen('shapes', needed - 1).sentences[0]
    assert many.separate_parts and 'several parts' in many.sentences[-1]
    assert not few.separate_parts, 'too few things were looked at'


def test_parts_are_separated_where_things_are_in_one_piece(tmp_path):
    from cmt_deeplab.own_data import open_data

    def chosen():
        split = open_data(tmp_path).train
        return choose(split, num_centers=16, side=96, align_corners=False).separate_parts

    write_shapes(tmp_path, preset='alike', num_train=2, num_val=1)
    assert chosen()
    path = tmp_path / 'annotations/panoptic_train2017'
    content = json.loads(path.with_suffix('.json').read_text())
    for annotation in content['annotations']:  # each nucleus takes on the next one's pixels
        plane = cv2.imread(str(path / annotation['file_name']))
        segments = annotation['segments_info']
        nuclei = [s['id'] for s in segments if s['category_id'] == 1]
        colors = [np.array([i >> 16, i >> 8 & 255, i & 255]) for i in nuclei]
        for first, second in zip(colors[::2], colors[1::2]):
            plane[(plane == second).all(-1)] = first
        cv2.imwrite(str(path / annotation['file_name']), plane)
        gone = set(nuclei[1::2])
        annotation['segments_info'] = [s for s in segments if s['id'] not in gone]
    path.with_suffix('.json').write_text(json.dumps(content))
    assert not chosen()


def test_crowds_alone_say_nothing_of_size_and_parts(tmp_path):
    from cmt_deeplab.own_data import open_data

    write_shapes(tmp_path, num_train=1, num_val=1)
    path = tmp_path / 'annotations/panoptic_train2017.json'
    content = json.loads(path.read_text())
    for segment in content['annotations'][0]['segments_info']:
        segment['iscrowd'] = 1
    path.write_text(json.dumps(content))
    found = choose(open_data(tmp_path).train, num_centers=16, side=96, align_corners=False)
    assert found.stride == 4 and not found.separate_parts
    assert 'nan' not in ''.join(found.sentences)


@pytest.mark.parametrize('name', RECIPES)
def test_the_rate_of_a_recipe_is_set_for_its_batch(name):
    """Else a training with nothing but defaults warns of its learning rate."""
    cfg = Config.fromfile(str(recipe(name)[1]))
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size
