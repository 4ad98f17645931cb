"""Every config builds, repeats nothing, opens with what it costs, and its model fits its data."""

import ast
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mmengine.registry
import pytest
import torch
import yaml
from cmt_deeplab.analysis.config_model import build_without_values, load_config
from mmengine.config import Config, ConfigDict
from mmengine.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / 'configs'
MAX_DEPTH = 4  # files, a leaf and its bases
BASE_NAME = re.compile(r'\{\{\s*(_base_[\w.]*)\s*\}\}')


def bases_of(path: Path) -> list[Path]:
    """The files that a config names in ``_base_``."""
    tree = ast.parse(BASE_NAME.sub(r'\1', path.read_text(encoding='utf-8')))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
            named = ast.literal_eval(node.value)
            named = [named] if isinstance(named, str) else named
            return [(path.parent / name).resolve() for name in named]
    return []


def with_bases(path: Path) -> set[Path]:
    return {path}.union(*map(with_bases, bases_of(path)))


def depth(path: Path) -> int:
    return 1 + max(map(depth, bases_of(path)), default=0)


def metafiles(repository: Path) -> list[dict]:
    index = yaml.safe_load((repository / 'model-index.yml').read_text(encoding='utf-8'))
    return [
        yaml.safe_load((repository / file).read_text(encoding='utf-8')) for file in index['Import']
    ]


def readme_links(folder: Path) -> set[str]:
    """The configs that the README of a folder links to."""
    text = (folder / 'README.md').read_text(encoding='utf-8')
    return set(re.findall(r'^\[[\w-]+\]: (\S+\.py)$', text, re.MULTILINE))


def listed_leaves(repository: Path) -> list[Path]:
    """The configs that the metafiles and the README of the peers name.

    A config that a user adds to these folders is not held to the project's rules.
    """
    peers = repository / 'configs' / 'peers'
    models = [model for content in metafiles(repository) for model in content['Models']]
    return [
        *sorted(repository / model['Config'] for model in models),
        *sorted(peers / name for name in readme_links(peers)),
    ]


LEAVES = listed_leaves(REPOSITORY)
ALL = sorted({CONFIGS / '_base_' / 'tensorboard.py'}.union(*map(with_bases, LEAVES)))


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
    bases = bases_of(path)
    if not bases:
        return None, {}
    (tmp_path / 'bases.py').write_text(f'_base_ = {[str(base) for base in bases]}')
    merged = Config.fromfile(str(tmp_path / 'bases.py'), import_custom_modules=False)
    tree = ast.parse(BASE_NAME.sub(r'\1', path.read_text(encoding='utf-8')))
    tree.body = [
        node
        for node in tree.body
        if not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) != '_base_'
    ]
    own = {'_base_': ConfigDict(merged.to_dict())}
    exec(compile(tree, str(path), 'exec'), own)  # noqa: S102  (a config is Python)
    return merged, {
        key: value for key, value in own.items() if not key.startswith('_') and not callable(value)
    }


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
        if isinstance(part, dict) and part.get('type') in ('TimmBackbone', 'TimmViT'):
            pytest.importorskip('timm', reason='the optional package timm is not installed')
    monkeypatch.setattr(
        torch, 'linspace', partial(torch.linspace, device='cpu')
    )  # Swin reads its drop-path rates off one
    with torch.device('meta'):
        return MODELS.build(without_weights(config))


@pytest.fixture(scope='module')
def registered() -> set:
    """Every name in a registry of mmdet or mmengine, and of mmcv's operators in ``mmcv.ops``."""
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
    assert {path.parent.name for path in LEAVES} == {
        'cmt_deeplab',
        'max_deeplab',
        'kmax_deeplab',
        'peers',
    }
    assert len(ALL) > len(LEAVES) > 40


@pytest.mark.parametrize('path', LEAVES, ids=name_of)
def test_inherits_few_files(path):
    assert depth(path) <= MAX_DEPTH


def test_no_schedule_holds_a_part_of_the_model():
    for path in ALL:
        if path.parent.name == 'schedules':
            own = Config.fromfile(str(path), import_custom_modules=False)
            assert set(own) <= {
                'optim_wrapper',
                'param_scheduler',
                'train_cfg',
                'val_cfg',
                'test_cfg',
                'auto_scale_lr',
                'stage5',
            }, path


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
        "model = dict(a=dict(type='A', depth=18), b=dict(_delete_=True, type='B'),\n"
        '             c={{_base_.model.c}}, d=4)\n'
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
    docstring = ' '.join((ast.get_docstring(ast.parse(text)) or '').split())
    assert docstring, 'a config opens with a docstring'
    if path in LEAVES:
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
    from cmt_deeplab.engine.class_check import model_class_counts
    from mmdet.registry import DATASETS

    config = Config.fromfile(str(path))
    model = build_without_memory(config.model, monkeypatch)
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        metainfo = dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO
        counts = len(metainfo['thing_classes']), len(metainfo['stuff_classes'])
        expected = dict(zip(('thing', 'stuff', 'class weights'), (*counts, sum(counts) + 1)))
        stated = model_class_counts(model)
        assert stated and all(count == expected[kind] for count, kind in stated.values())
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
    """mmengine's runner puts the number of iterations where a scheduler names no end."""
    config = Config.fromfile(str(path))
    assert config.train_cfg.type == 'PanopticIterBasedTrainLoop'
    ends = [
        scheduler.get('end', config.train_cfg.max_iters) for scheduler in config.param_scheduler
    ]
    assert max(ends) == config.train_cfg.max_iters
    for scheduler in config.param_scheduler:
        assert scheduler.by_epoch is False
        assert all(milestone < max(ends) for milestone in scheduler.get('milestones', ()))


def test_metafiles_say_what_is_known():
    for content in metafiles(REPOSITORY):
        collections = {collection['Name'] for collection in content['Collections']}
        for collection in content['Collections']:
            assert (REPOSITORY / collection['README']).is_file()
            assert (REPOSITORY / collection['Code']['URL']).is_file()
        for model in content['Models']:
            assert Path(model['Config']).stem == model['Name']
            assert (REPOSITORY / model['Config']).is_file()
            assert model['In Collection'] in collections
            assert model['Metadata']['Parameters'] > 0
        assert all(value is not None for _, value in parts_of(content)), 'an empty entry'


@pytest.mark.parametrize('folder', sorted({path.parent for path in LEAVES}), ids=name_of)
def test_readme_links_to_every_leaf_and_to_no_other(folder):
    assert readme_links(folder) == {path.name for path in LEAVES if path.parent == folder}


DATA = "'../_base_/datasets/coco_panoptic_index.py',"
CITY = "'../_base_/datasets/cityscapes_panoptic_index.py',"
MAX_CITY = (
    'model = dict(_base_.for_model, postprocess=dict('
    'thing_area=256, stuff_area=2048, area_reference=(1025, 2049)))'
)
R50_CITY = (
    'model = dict(_base_.for_model, backbone=dict(with_stem_output=True), **_base_.on_cityscapes)'
)
R104_CITY = 'model = dict(_base_.for_model, postprocess=_base_.on_cityscapes.postprocess)'
GONE = {  # a leaf of an older version: the config to copy, what to exchange and by what
    'cmt-deeplab_r50_8xb8-150k_coco-panoptic-1025': (
        'cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py',
        {DATA: "'../_base_/datasets/coco_panoptic_index_1025.py',"},
    ),
    'cmt-deeplab_axial-r104_8xb4-60k_cityscapes-panoptic-1025x2049': (
        'cmt_deeplab/cmt-deeplab_r50_8xb4-60k_cityscapes-panoptic-1025x2049.py',
        {
            "'../_base_/models/cmt-deeplab_r50.py',": (
                "'../_base_/models/cmt-deeplab_axial-r104.py',"
            ),
            R50_CITY: R104_CITY,
        },
    ),
    'kmax-deeplab_convnext-s_8xb8-150k_coco-panoptic-641': (
        'kmax_deeplab/kmax-deeplab_convnext-s_8xb8-150k_coco-panoptic-1281.py',
        {
            'kmax-deeplab_r50_8xb8-150k_coco-panoptic-1281.py': (
                'kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
            )
        },
    ),
    'max-deeplab-s_8xb8-100k_coco-panoptic-1281': (
        'max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-641.py',
        {DATA: "'../_base_/datasets/coco_panoptic_index_1281.py',"},
    ),
    'max-deeplab-s_8xb4-60k_cityscapes-panoptic-1025x2049': (
        'max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-641.py',
        {
            DATA: CITY,
            'model = _base_.for_model': MAX_CITY,
            'train_dataloader = dict(dataset=dict(pipeline=_base_.max_pipeline))': '',
        },
    ),
}


@pytest.mark.parametrize('name', GONE)
def test_the_lines_of_the_readmes_make_the_leaves_that_are_gone(name, tmp_path, monkeypatch):
    source, lines = GONE[name]
    text = (CONFIGS / source).read_text(encoding='utf-8')
    for old, new in lines.items():
        assert text.count(old) >= 1
        text = text.replace(old, new)
    shutil.copytree(CONFIGS, tmp_path / 'configs')
    leaf = tmp_path / 'configs' / source.split('/')[0] / 'mine.py'
    leaf.write_text(text)
    config = Config.fromfile(str(leaf))
    size = tuple(map(int, name.rsplit('-', 1)[1].split('x')))
    size = size * 2 if len(size) == 1 else size
    assert tuple(config.train_dataloader.dataset.image_size) == size
    assert tuple(config.model.data_preprocessor.size) == size
    build_without_memory(config.model, monkeypatch)


def test_a_config_that_a_user_adds_is_not_read(tmp_path):
    shutil.copytree(CONFIGS, tmp_path / 'configs')
    shutil.copy(REPOSITORY / 'model-index.yml', tmp_path)
    (tmp_path / 'configs/cmt_deeplab/mine.py').write_text("_base_ = './nothing.py'\n")
    names = [str(path.relative_to(tmp_path)) for path in listed_leaves(tmp_path)]
    assert names == [name_of(path) for path in LEAVES]


def test_a_backbone_that_reads_values_is_built_without_those_of_the_others():
    path = CONFIGS / 'cmt_deeplab/cmt-deeplab_swin-t_8xb8-150k_coco-panoptic-641.py'
    assert build_without_values(load_config(str(path)).model).backbone.patch_embed is not None
