"""Every config: builds, says nothing twice, is short, opens with what it costs, and its model fits its data."""

import ast
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mmengine.registry
import pytest
import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / 'configs'
ALL = sorted(path for path in CONFIGS.rglob('*.py'))
LEAVES = [path for path in ALL if '_base_' not in path.parts]
MODELLED = [
    path for path in LEAVES if path.parent.name in ('cmt_deeplab', 'max_deeplab', 'kmax_deeplab')
]
MAX_LINES = 25
BASE_NAME = re.compile(r'\{\{\s*(_base_[\w.]*)\s*\}\}')


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def parts_of(value, path: str = '') -> Iterator[tuple[str, object]]:
    """Every value inside a config, with its dotted path."""
    yield path, value
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, (list, tuple))
        else ()
    )
    for key, inner in items:
        yield from parts_of(inner, f'{path}.{key}'.lstrip('.'))


def bases_and_own(path: Path, tmp_path: Path) -> tuple[Config | None, dict]:
    """The merged bases of a config file and the keys that the file itself sets."""
    tree = ast.parse(BASE_NAME.sub(r'\1', path.read_text(encoding='utf-8')))
    is_base = [
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_'
        for node in tree.body
    ]
    if not any(is_base):
        return None, {}
    named = ast.literal_eval(tree.body[is_base.index(True)].value)
    named = [named] if isinstance(named, str) else named
    (tmp_path / 'bases.py').write_text(
        f'_base_ = {[str((path.parent / name).resolve()) for name in named]}'
    )
    bases = Config.fromfile(str(tmp_path / 'bases.py'), import_custom_modules=False)
    tree.body = [node for node, drop in zip(tree.body, is_base) if not drop]
    own = {'_base_': ConfigDict(bases.to_dict())}
    exec(compile(tree, str(path), 'exec'), own)  # noqa: S102  (a config is Python)
    return bases, {key: value for key, value in own.items() if not key.startswith('_')}


def same(one, other) -> bool:
    """Equal, a tuple being a list, as mmengine's merging does not tell them apart."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def repeated(own: dict, base: dict, path: str = '') -> Iterator[str]:
    """The dotted keys that ``own`` sets to what ``base`` has there already."""
    for key, value in own.items():
        if key not in base:
            continue
        if isinstance(value, dict) and isinstance(base[key], dict) and value:
            if not value.get('_delete_'):
                yield from repeated(value, base[key], f'{path}{key}.')
                continue
            value = {name: inner for name, inner in value.items() if name != '_delete_'}
        if same(value, base[key]):
            yield f'{path}{key}'


def without_weights(config: ConfigDict) -> ConfigDict:
    """The same model, initialized at random: nothing is fetched."""
    for _, part in list(parts_of(config)):
        if isinstance(part, dict) and 'init_cfg' in part:
            part['init_cfg'] = None
    return config


def build_without_memory(config: ConfigDict, monkeypatch):
    from mmdet.registry import MODELS

    for _, part in parts_of(config):
        if isinstance(part, dict) and part.get('type') == 'TimmBackbone':
            pytest.importorskip('timm', reason='the optional package timm is not installed')
    monkeypatch.setattr(
        torch, 'linspace', partial(torch.linspace, device='cpu')
    )  # Swin reads its drop-path rates off one
    with torch.device('meta'):
        return MODELS.build(without_weights(config))


@pytest.fixture(scope='module')
def registered() -> set:
    """Every name in a registry of mmdet or mmengine, and of mmcv's operators, which mmdet looks up by name in ``mmcv.ops``."""
    import mmcv.ops
    import mmdet.registry

    names = set(vars(mmcv.ops))
    for module in (mmdet.registry, mmengine.registry):
        for registry in vars(module).values():
            if isinstance(registry, Registry):
                registry.import_from_location()
                names |= set(registry.module_dict)
    return names


def test_there_are_leaves_of_every_kind():
    assert {path.parent.name for path in LEAVES} >= {'cmt_deeplab', 'peers'}


@pytest.mark.parametrize('path', ALL, ids=name_of)
def test_says_nothing_twice(path, tmp_path):
    bases, own = bases_and_own(path, tmp_path)
    if bases is not None:
        assert list(repeated(own, bases.to_dict())) == [], (
            'set to the value that the base has already'
        )


def test_the_check_finds_repetitions(tmp_path):
    (tmp_path / 'base.py').write_text(
        "size = (1, 2)\nhooks = [dict(type='H')]\n"
        "model = dict(a=dict(type='A', depth=50), b=dict(type='B'), c=3)\n"
    )
    (tmp_path / 'leaf.py').write_text(
        "_base_ = 'base.py'\nsize = [1, 2]\nhooks = [dict(type='H')]\n"
        "model = dict(a=dict(type='A', depth=18), b=dict(_delete_=True, type='B'), c={{_base_.model.c}}, d=4)\n"
    )
    bases, own = bases_and_own(tmp_path / 'leaf.py', tmp_path)
    assert list(repeated(own, bases.to_dict())) == [
        'size',
        'hooks',
        'model.a.type',
        'model.b',
        'model.c',
    ]


@pytest.mark.parametrize('path', ALL, ids=name_of)
def test_opens_with_a_docstring(path):
    text = path.read_text(encoding='utf-8')
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, 'a config opens with a docstring'
    assert max(map(len, text.splitlines())) <= 150
    if path in LEAVES:
        assert len(text.splitlines()) <= MAX_LINES
        assert re.search(rf'tools/\S+ (.* )?{re.escape(name_of(path))}', docstring), (
            'no command that runs this very config'
        )
        assert re.search(r'\bGPU|\bCPU|\bcores?\b', docstring), 'no hardware'
        assert re.search(r'\b[Cc]ost\b|\bminutes?\b|\bhours?\b', docstring), 'no cost'
        assert re.search(r'\bPQ\b', docstring), 'no expected PQ'
        assert re.search(r'trained by us|[Mm]easured|docs/', docstring), (
            'not said where the PQ comes from'
        )


@pytest.mark.parametrize('path', LEAVES, ids=name_of)
def test_types_are_registered_and_paths_relative(path, registered):
    config = Config.fromfile(str(path))
    for where, value in parts_of(config.to_dict()):
        if isinstance(value, str):
            assert not value.startswith(('/', '~')), f'{where} is an absolute path: {value}'
        if isinstance(value, dict) and isinstance(value.get('type'), str):
            assert value['type'] in registered, f'{where}.type={value["type"]} is not registered'
            if value['type'] == 'EMAHook':
                assert value['ema_type'] in registered


@pytest.mark.parametrize('path', LEAVES, ids=name_of)
def test_model_fits_its_data(path, monkeypatch):
    from cmt_deeplab.engine.hooks import model_class_counts
    from mmdet.registry import DATASETS

    config = Config.fromfile(str(path))
    model = build_without_memory(config.model, monkeypatch)
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        metainfo = dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO
        counts = len(metainfo['thing_classes']), len(metainfo['stuff_classes'])
        assert model_class_counts(model) == counts
        for where, module in model.named_modules():
            for key, count in zip(('num_things_classes', 'num_stuff_classes'), counts):
                assert getattr(module, key, count) == count, f'{where}.{key}'
        boxes_and_masks = [
            module
            for where, module in model.named_modules()
            if where in ('roi_head.bbox_head', 'roi_head.mask_head')
        ]
        assert all(module.num_classes == counts[0] for module in boxes_and_masks)
        if hasattr(model, 'panoptic_head') and hasattr(model.panoptic_head, 'class_weight'):
            assert len(model.panoptic_head.class_weight) == sum(counts) + 1
        if type(model).__name__ == 'CMTDeepLab':  # one size: crops, test images and padding
            assert tuple(dataset.image_size) == model.data_preprocessor.size
    assert sum(parameter.numel() for parameter in model.parameters()) > 10_000


@pytest.mark.parametrize('path', LEAVES, ids=name_of)
def test_schedule_ends_where_training_ends(path):
    config = Config.fromfile(str(path))
    assert config.train_cfg.type == 'PanopticIterBasedTrainLoop'
    last = max(config.param_scheduler, key=lambda scheduler: scheduler.end)
    assert last.end == config.train_cfg.max_iters and not any(
        scheduler.by_epoch for scheduler in config.param_scheduler
    )
    assert all(milestone < last.end for milestone in last.get('milestones', ()))


def test_model_index_names_every_leaf():
    index = yaml.safe_load((REPOSITORY / 'model-index.yml').read_text(encoding='utf-8'))
    listed = {}
    for file in index['Import']:
        content = yaml.safe_load((REPOSITORY / file).read_text(encoding='utf-8'))
        collections = {collection['Name'] for collection in content['Collections']}
        for collection in content['Collections']:
            assert (REPOSITORY / collection['README']).is_file()
            assert (REPOSITORY / collection['Code']['URL']).is_file()
        for model in content['Models']:
            assert (REPOSITORY / model['Config']).is_file() and Path(model['Config']).stem == model[
                'Name'
            ]
            assert model['In Collection'] in collections
            listed[model['Config']] = model
    assert set(listed) == {name_of(path) for path in MODELLED}


@pytest.mark.parametrize('folder', sorted({path.parent for path in LEAVES}), ids=name_of)
def test_readme_names_every_leaf(folder):
    text = (folder / 'README.md').read_text(encoding='utf-8')
    assert [path.name for path in LEAVES if path.parent == folder and path.name not in text] == []
