"""The classes of the model are those of the data sets, or the run does not start."""

import re
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from cmt_deeplab.datasets.shape_forms import STUFF_CLASSES, THING_CLASSES
from cmt_deeplab.engine.class_check import PanopticClassCheckHook
from cmt_deeplab.errors import UserError
from command_line import ROOT
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop
from torch import nn
from toy import ToyDataset
from toy_run import toy_runner


class Loop(BaseLoop):
    def __init__(self, dataset):
        self.dataloader = SimpleNamespace(dataset=dataset)

    def run(self):
        raise AssertionError('not run here')


def dataset(things=('a', 'b'), stuff=('c',), name='x.json'):
    return SimpleNamespace(
        metainfo=dict(classes=(*things, *stuff), thing_classes=things, stuff_classes=stuff),
        ann_file=name,
    )


class Model(nn.Module):
    def __init__(self, num_things_classes=2, num_stuff_classes=1):
        super().__init__()
        self.num_things_classes, self.num_stuff_classes = num_things_classes, num_stuff_classes


def runner(net, **loops):
    return SimpleNamespace(
        model=net,
        logger=MMLogger.get_instance('class_check'),
        **{f'_{split}_loop': loops.get(split) for split in ('train', 'val', 'test')},
    )


def test_agreement_passes():
    PanopticClassCheckHook().before_run(
        runner(Model(), train=Loop(dataset()), val=Loop(dataset()), test=dict(type='TestLoop'))
    )


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_counts_disagree(split):
    with pytest.raises(UserError) as error:
        PanopticClassCheckHook().before_run(runner(Model(80, 53), **{split: Loop(dataset())}))
    assert str(error.value) == (
        'The model has model.num_things_classes=80 and model.num_stuff_classes=53, but '
        f'{split}_dataloader.dataset (x.json) has 2 thing and 1 stuff classes: set the config '
        'variables num_things_classes=2 and num_stuff_classes=1, or give '
        f'{split}_dataloader.dataset.metainfo the classes of the model.'
    )


def test_the_same_total_is_not_enough():
    with pytest.raises(UserError, match='has 2 thing and 1 stuff'):
        PanopticClassCheckHook().before_run(runner(Model(1, 2), train=Loop(dataset())))


def test_data_sets_disagree():
    cases = (
        (dataset(('b', 'a')), "label 0 is the thing 'a' in train_dataloader.* the thing 'b'"),
        (dataset(stuff=('c', 'd')), "the stuff class 'd' is in val_.* but not in train_"),
        (dataset(('0', 'a', 'b')), "the thing '0' is in val_dataloader.* but not in train_"),
        (dataset(('a', 'B ')), "'b' is in train_.* but not in val_.* .is 'B ' meant"),
        (dataset(('a', 3)), "the thing 'b' is in train_dataloader.* but not in val_dataloader"),
        (dataset(('a', 'b', 'bus', 'cat')), r"'bus' is in val_dataloader.dataset but not in \S*;"),
        (dataset(('a',), ('b', 'c')), "the thing 'b' is .*not in val_.* .a stuff class there"),
    )
    for val, words in cases:
        with pytest.raises(UserError, match=f'Two data sets have different classes: .*{words}'):
            PanopticClassCheckHook().before_run(
                runner(nn.Module(), train=Loop(dataset()), val=Loop(val))
            )


def heads(**values) -> nn.Module:
    """A model with parts by dotted name, which have attributes by name."""
    net = nn.Module()
    for path, attributes in values.items():
        part = net
        for name in path.split('__'):
            if name not in dict(part.named_children()):
                part.add_module(name, nn.Module())
            part = part.get_submodule(name)
        vars(part).update(attributes)
    return net


RIGHT = dict(num_things_classes=2, num_stuff_classes=1)
WRONG = dict(num_things_classes=2, num_stuff_classes=53)


@pytest.mark.parametrize(
    'net, words',
    [
        (heads(panoptic_head=RIGHT, panoptic_fusion_head=RIGHT), None),
        (heads(roi_head__bbox_head=dict(num_classes=2), rpn_head=dict(num_classes=1)), None),
        (heads(backbone=dict(num_classes=1000)), None),
        (
            heads(panoptic_head=RIGHT, panoptic_fusion_head=WRONG),
            'set model.panoptic_fusion_head.num_stuff_classes=1, or',
        ),
        (heads(semantic_head=WRONG), 'set model.semantic_head.num_stuff_classes=1, or'),
        (
            heads(panoptic_head=RIGHT, panoptic_head__loss_cls=dict(class_weight=[1.0] * 134)),
            'set len(model.panoptic_head.loss_cls.class_weight)=4, or',
        ),
        (
            heads(roi_head__bbox_head__0=dict(num_classes=80)),
            'set model.roi_head.bbox_head[0].num_classes=2, or',
        ),
        (heads(mask_head=dict(num_classes=3)), 'set model.mask_head.num_classes=2, or'),
        (
            heads(detector__bbox_head=dict(num_classes=80)),
            'set model.detector.bbox_head.num_classes=2, or',
        ),
    ],
)
def test_the_heads_of_mmdets_models(net, words):
    hook = PanopticClassCheckHook()
    if words is None:
        hook.before_run(runner(net, train=Loop(dataset())))
    else:
        with pytest.raises(UserError, match=re.escape(words)):
            hook.before_run(runner(net, train=Loop(dataset())))


def test_mmdets_mask2former(shapes_root):
    head = dict(num_things_classes=80, num_stuff_classes=53)
    config = Config.fromfile(str(ROOT / 'configs/peers/mask2former_r50_1xb8_shapes.py')).model
    config.backbone.init_cfg = None
    config.panoptic_head.update(head)
    config.panoptic_head.loss_cls.class_weight = [1.0] * 133 + [0.1]
    config.panoptic_fusion_head.update(num_things_classes=3, num_stuff_classes=2)
    with torch.device('meta'):
        net = MODELS.build(config)
    data = dataset(things=tuple('abc'), stuff=tuple('de'))
    with pytest.raises(UserError) as error:
        PanopticClassCheckHook().before_run(runner(net, train=Loop(data)))
    assert (
        'set model.panoptic_head.num_things_classes=3 and model.panoptic_head.num_stuff_classes=2 '
        'and len(model.panoptic_head.loss_cls.class_weight)=6, or' in str(error.value)
    )


def test_data_sets_of_boxes_and_wrappers():
    boxes = SimpleNamespace(metainfo=dict(classes=('a', 'b')))
    wrapped = SimpleNamespace(dataset=SimpleNamespace(datasets=[boxes, boxes]))
    net = heads(bbox_head=dict(num_classes=80))
    for data in (boxes, wrapped):
        with pytest.raises(UserError, match='model.bbox_head.num_classes=2'):
            PanopticClassCheckHook().before_run(runner(net, val=Loop(data)))
    for net in (nn.Module(), heads(bbox_head=dict(num_classes=2))):
        for data in (boxes, wrapped, [1, 2]):
            PanopticClassCheckHook().before_run(runner(net, val=Loop(data)))


def test_fewer_centers_than_segments():
    net, data = heads(panoptic_head__transformer_decoder={}), dataset()
    net.panoptic_head.transformer_decoder.centers = nn.Parameter(torch.zeros(1, 8, 3))
    peer = heads(panoptic_head=dict(num_queries=3))
    for model, key in ((net, 'transformer_decoder.num_centers'), (peer, 'num_queries')):
        said, data.most_segments = [], 4
        loops = runner(model, train=Loop(SimpleNamespace(datasets=[data])))
        loops.logger = SimpleNamespace(warning=said.append, info=print)
        PanopticClassCheckHook().before_run(loops)
        assert (
            f'has 4 segments, but the model finds at most 3: raise model.panoptic_head.{key}'
            in said[0]
        )
    said.clear()
    data.most_segments = 3
    PanopticClassCheckHook().before_run(loops)
    assert not said


@pytest.mark.parametrize('first', ['disk', 'cross'])
def test_mmdets_own_data_set_has_the_labels_of_its_names(shapes_root, first):
    """mmdet takes the labels from the order of the file and their names from metainfo."""
    things = sorted(THING_CLASSES, key=lambda name: name != first)
    things = list(THING_CLASSES) if first == 'disk' else things
    data = DATASETS.build(
        dict(
            type='CocoPanopticDataset',
            data_root=str(shapes_root),
            ann_file='annotations/panoptic_train2017.json',
            data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
            metainfo=dict(
                classes=[*things, *STUFF_CLASSES], thing_classes=things, stuff_classes=STUFF_CLASSES
            ),
        )
    )
    check = partial(PanopticClassCheckHook().before_run, runner(nn.Module(), train=Loop(data)))
    if first == 'disk':
        check()
    else:
        with pytest.raises(
            UserError, match='gives .* the name of another class: take the type Pan'
        ):
            check()


@DATASETS.register_module()
class NamedToyDataset(ToyDataset):
    def __init__(self, metainfo: dict, **kwargs):
        super().__init__(**kwargs)
        self.metainfo = metainfo


def named(*classes, things=1, **kwargs):
    metainfo = dict(classes=classes, thing_classes=classes[:things], stuff_classes=classes[things:])
    return dict(type='NamedToyDataset', metainfo=metainfo, **kwargs)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A checkpoint of the classes a and b."""
    folder = tmp_path_factory.mktemp('trained')
    toy_runner(folder, train_cfg__max_iters=2, train_cfg__val_interval=10).train()
    return str(folder / 'iter_2.pth')


def run(folder, checkpoint, route, dataset, **options):
    split = 'train' if route in ('train', 'resume') else route
    data = {f'{name}_dataloader__dataset': dataset for name in {split, 'val'} - {'test'}}
    data[f'{split}_dataloader__dataset'] = dataset
    runner = toy_runner(
        folder,
        load_from=checkpoint,
        resume=route == 'resume',
        train_cfg__max_iters=3,
        **data,
        **options,
    )
    getattr(runner, split)()
    return runner


@pytest.mark.parametrize('route', ['test', 'val', 'resume', 'train'])
def test_a_checkpoint_of_the_classes_in_another_order(trained, tmp_path, route):
    run(tmp_path / 'same', trained, route, named('a', 'b'))
    wrong = "for other classes than those of .*_dataloader.dataset: the thing 'a' is in the checkp"
    with pytest.raises(UserError, match=wrong):
        run(tmp_path / 'other', trained, route, named('b', 'a'))


def test_a_training_may_begin_with_the_weights_for_other_classes(trained, tmp_path, capsys):
    run(tmp_path, trained, 'train', named('c', 'b'))
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert "the thing 'a' is in the checkpoint but not in NamedToyDataset" in log
    with pytest.raises(UserError, match='for other classes'):
        run(tmp_path / 'resume', trained, 'resume', named('c', 'b'))


@pytest.mark.parametrize(
    'meta',
    [
        {},
        dict(CLASSES=['a', 'b']),
        dict(dataset_meta=dict(CLASSES=('a', 'b'), PALETTE='random')),
        dict(dataset_meta=[dict(classes=['a', 'b'], thing_classes=['a'], cumulative_sizes=[3])]),
    ],
)
def test_checkpoints_of_others_work_as_far_as_they_name_classes(trained, tmp_path, meta):
    checkpoint = torch.load(trained, weights_only=False)
    torch.save(dict(state_dict=checkpoint['state_dict'], meta=meta), tmp_path / 'theirs.pth')
    run(tmp_path, str(tmp_path / 'theirs.pth'), 'test', named('a', 'b'))
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert ('does not name its classes, which are taken for those' in log) is not bool(meta)
    if meta:
        with pytest.raises(UserError, match="'a' (is )?in the checkpoint (but not|and) "):
            run(tmp_path, str(tmp_path / 'theirs.pth'), 'test', named('b', 'a'))
