"""What is wrong with a config and would come to light late, or never.

``PanopticRunner.from_cfg`` asks before it builds anything. mmengine ignores a top-level key that
it does not know, keeps some arguments until long after the start, and takes the word 'no' for true.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.runner import Priority, Runner

from cmt_deeplab.construction import (
    key_missing,
    key_not_taken,
    keywords,
    name_of,
    shortened,
    wrong_layer,
)
from cmt_deeplab.errors import UserError
from cmt_deeplab.mmengine_building import READ, entries_read
from cmt_deeplab.value_kinds import class_of, wrong_kind_of, wrong_value

# keys of mmdet 2 that mmdet 3 ignores
OF_MMDET_2 = {
    'optimizer': 'optim_wrapper.optimizer',
    'lr_config': 'param_scheduler',
    'runner': 'train_cfg',
    'total_epochs': 'train_cfg.max_epochs',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger',
    'evaluation': 'train_cfg.val_interval',
    'data': 'train_dataloader, val_dataloader and test_dataloader',
    'fp16': "optim_wrapper.type='PanopticAmpOptimWrapper'",
    'resume_from': 'load_from, and resume=True',
    'optimizer_config': 'optim_wrapper.clip_grad',
}
OF_OTHERS = {  # of a config that inherits; one that mmengine has written may have such variables
    'batch_size': 'train_dataloader.batch_size',
    **dict.fromkeys(['checkpoint', 'weights'], 'load_from'),
    'learning_rate': 'optim_wrapper.optimizer.lr',
    **dict.fromkeys(['max_epochs', 'max_iter', 'max_iters'], 'train_cfg.max_iters'),
    'pretrained': 'model.backbone.init_cfg',
    'seed': 'randomness.seed',
}
LOADERS = 'train_dataloader', 'val_dataloader', 'test_dataloader'
OF_TEST_TIME_AUGMENTATION = {'tta_model', 'tta_pipeline'}  # which mmdet's tools/test.py reads
# the dicts that have no type: the keys that mmengine takes, with the kinds of their values
FORMS = {
    'env_cfg': dict(cudnn_benchmark=bool, mp_cfg=dict, dist_cfg=dict, resource_limit=int),
    'env_cfg.mp_cfg': dict(mp_start_method=str, opencv_num_threads=int),
    'env_cfg.dist_cfg': dict(backend=str, timeout=float),
    'randomness': dict(seed=int | None, diff_rank_seed=bool, deterministic=bool),
    'auto_scale_lr': dict(enable=bool, base_batch_size=int),
}
CLIPPING = {
    'norm': dict(
        max_norm=float, norm_type=float | str, error_if_nonfinite=bool, foreach=bool | None
    ),
    'value': dict(clip_value=float, foreach=bool | None),
}
OF_A_LOADER = dict(
    dataset=dict,
    sampler=dict,
    num_workers=int,
    pin_memory=bool,
    drop_last=bool,
    persistent_workers=bool,
)
# further kinds, of keys beside which there are others
KINDS_OF_VALUES = {
    '': dict(
        env_cfg=dict,
        randomness=dict,
        default_hooks=dict[str, dict | None] | None,
        **dict.fromkeys(['work_dir', 'experiment_name', 'load_from'], str | None),
        custom_hooks=list[dict] | None,
        **dict.fromkeys(
            ['val_evaluator', 'test_evaluator', 'param_scheduler'], dict | list[dict] | None
        ),
        **dict.fromkeys(['activation_checkpointing', 'efficient_conv_bn_eval'], str | list | None),
        compile=bool | dict | None,
        find_unused_parameters=bool,
        model_wrapper_cfg=dict | None,
    ),
    **{loader: OF_A_LOADER for loader in LOADERS},
    'optim_wrapper': dict(optimizer=dict, paramwise_cfg=dict | None),
    'optim_wrapper.paramwise_cfg': dict(custom_keys=dict[str, dict]),
}
# what a dict needs, unless it has another key
NEEDED = {
    **{loader: ('dataset', '') for loader in LOADERS},
    'optim_wrapper': ('optimizer', 'constructor'),
    'optim_wrapper.optimizer': ('type', ''),
}
# the words for an argument that are looked up long after the start
WORDS = {(Hook, 'priority'): Priority.__members__, (BaseMetric, 'collect_device'): ('cpu', 'gpu')}


def check_config(cfg: Config) -> list[str]:
    """Check the config of a run before anything is built.

    Returns:
        Warnings, for the log of the run.

    Raises:
        UserError: a top-level key has no effect, a value is of a kind that its class does not take,
            or an argument that is used late is not known.
    """
    entries = entries_read(cfg)
    warnings = _check_top_level(cfg, entries)
    _check_values('', cfg, Runner)
    for place, part in entries:
        if isinstance(part, Mapping):
            part_type = class_of(part.get('type'))
            _check_values(place, part, part_type)
            if inspect.isclass(part_type):
                _check_late_arguments(place, part, part_type)
    wrong = wrong_layer('model', cfg.get('model'))
    if wrong:
        raise UserError(wrong)
    return warnings + _differing_sizes(entries)


def _check_top_level(cfg: Config, entries: list[tuple[str, object]]) -> list[str]:
    """Keys that mmengine would ignore; warnings, where the user may mean that."""
    scope = cfg.get('default_scope')
    if isinstance(scope, str) and not find_spec(scope):
        raise UserError(
            f"default_scope is {scope!r}, which is no installed package: use 'mmdet', in whose "
            'registries the parts of this package are.'
        )
    source = _source(cfg)
    inherits = bool(re.search(r'^_base_\s*=|\bread_base\b', source, re.MULTILINE))
    warnings = []
    for key in _unread(cfg, source):
        value, places = cfg[key], places_of_variable(key, cfg[key], entries)
        near = get_close_matches(key, READ, 1, 0.85)
        meant = OF_MMDET_2.get(key) or (near[0] if near else None)
        compared = [entry for path, entry in entries if path in places or not places]
        telling = places or not isinstance(value, int | float | None)
        if telling and any(_holds(entry, value) for entry in compared):
            continue
        of_a_base = re.search(rf'^{key}\s*=', cfg.text.replace(source, ''), re.MULTILINE)
        if meant and not key.startswith(f'{meant}_'):
            raise UserError(f'The config sets {key}, which nothing reads; set {meant}.')
        said = f'The config sets {key}={shortened(value)}, which nothing reads'
        if inherits and (of_a_base or places):
            keys = ', '.join(places) or 'the keys that use it'
            raise UserError(f'{said}; set {keys}.')
        if inherits and key in OF_OTHERS and value is not None:
            raise UserError(f'{said}; set {OF_OTHERS[key]}.')
        if inherits or places:  # otherwise the file may be one that mmengine has written
            warnings.append(f'{said}: correct or remove it.')
    return warnings


def _source(cfg: Config) -> str:
    """The text of the config file itself; empty where there is none."""
    path = Path(cfg.filename or '')
    return path.read_text(encoding='utf-8') if path.suffix == '.py' and path.is_file() else ''


def _unread(cfg: Config, source: str) -> list[str]:
    """The top-level keys that the file sets, and neither it nor mmengine reads.

    A config without a file may have used any of its keys.
    """
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    written = {node.id for node in names} if source else set(cfg)
    return [key for key in cfg if key in written - read - READ - OF_TEST_TIME_AUGMENTATION]


def places_of_variable(key: str, value: object, entries: Iterable) -> list[str]:
    """Where a variable of the config files stands, by its own name or else by its value."""
    kind = isinstance(value, Mapping)
    named = [p for p, e in entries if p.endswith(f'.{key}') and isinstance(e, Mapping) == kind]
    same = [path for path, entry in entries if isinstance(value, str) and entry == value]
    return (named or same)[:6]


def _holds(entry: object, value: object) -> bool:
    """Whether an entry of the config is ``value``, or a dict into which ``value`` was merged."""
    if isinstance(entry, Mapping) and isinstance(value, Mapping):
        return all(key in entry and entry[key] == value[key] for key in value)
    return entry == value


def _check_values(place: str, part: Mapping, part_type: Callable | None) -> None:
    """Compare the entries of a dict with its form, or with the annotations of its type."""
    form = FORMS.get(place)
    if place == 'optim_wrapper.clip_grad':
        form = CLIPPING.get(part.get('type', 'norm'))
    if form is not None:
        _refuse_keys(place, 'mmengine', part, form)
    needed, instead = NEEDED.get(place, ('', ''))
    if needed and not {needed, instead} & part.keys():
        raise UserError(key_missing(place, needed))
    kinds = KINDS_OF_VALUES.get(place, form or {})
    for key, value in part.items():
        wrong = wrong_kind_of(kinds[key], value) if key in kinds else None
        wrong = wrong or (part_type and wrong_value(part_type, key, value))
        if wrong:
            key = f'{place}.{key}' if place else key
            raise UserError(f'{key} is {shortened(repr(value))}, but must be {wrong}.')


def _check_late_arguments(place: str, part: Mapping, part_type: type) -> None:
    """The arguments that a part looks up, or gives to a function, long after the start."""
    for (owner, key), words in WORDS.items():
        value = part.get(key)
        known = not isinstance(value, str) or {value, value.upper()} & {*words}
        if issubclass(part_type, owner) and not known:
            raise UserError(f'{place}.{key} is {value!r}, but must be one of {", ".join(words)}.')
    gives_on = None  # where the further arguments go
    if issubclass(part_type, CheckpointHook):
        gives_on = Runner.save_checkpoint
    elif issubclass(part_type, EMAHook):
        gives_on = class_of(part.get('ema_type', 'ExponentialMovingAverage'))
    if gives_on:
        taken = keywords(part_type)[0] | keywords(gives_on)[0]
        _refuse_keys(place, name_of(part_type), part, taken)


def _refuse_keys(place: str, name: str, part: Mapping, taken: Iterable[str]) -> None:
    for key in part.keys() - {*taken, 'type', '_scope_', 'priority'}:
        raise UserError(key_not_taken(place, name, key))


def _differing_sizes(entries: Iterable[tuple[str, object]]) -> list[str]:
    """A warning where images differ in size, and the input of the model is fixed."""
    ends = 'dataset.image_size', 'model.data_preprocessor.size'
    sizes = {path: tuple(entry) for path, entry in entries if path.endswith(ends) and entry}
    if ends[1] not in sizes or len(set(sizes.values())) == 1:
        return []
    shown = ', '.join(f'{path}={size}' for path, size in sizes.items())
    return [
        f'The images of the run have different sizes: {shown}; give all the same value, or set '
        f'{ends[1]}=None, which lets each batch have its own.'
    ]
