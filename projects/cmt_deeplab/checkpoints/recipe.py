"""What inference needs beside the weights of a checkpoint, as data: the model and the pipeline.

Training writes it into ``meta`` as a JSON text, so that a checkpoint alone can be used. Whoever
made the file may have written anything there. So what is read are dicts, lists, words and numbers,
and its types are the parts of this package and those of mmdet, mmcv and torch that such models
consist of. Names with dots, paths, addresses and weights to load do not pass, and what would be
looked up by ``eval`` or imported is one of a few words. A key that names files is left out when the
text is written.
"""

import functools
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import ConfigDict
from mmengine.logging import print_log

from cmt_deeplab.errors import UserError

from .entries import RECIPE

# what names files, or where memory is taken, and what inference does not need
LEFT_OUT = {'init_cfg', 'pretrained', 'backend_args', 'file_client_args', '_scope_'}
LEFT_OUT |= {'seed_per_image', 'device'}
# modules whose registered classes may be built; none of them reads a file when it is built
MODULES = (
    *('cmt_deeplab', 'mmcv.cnn', 'mmcv.ops', 'mmengine.model', 'torch.nn'),
    *(f'mmdet.models.{part}' for part in ('backbones', 'necks', 'layers', 'losses', 'roi_heads')),
    *(f'mmdet.models.{part}' for part in ('seg_heads', 'data_preprocessors')),
    *(f'mmdet.models.task_modules.{part}' for part in ('assigners', 'coders', 'samplers')),
    'mmdet.models.task_modules.prior_generators',
    *(f'mmdet.models.dense_heads.{head}_head' for head in ('rpn', 'maskformer', 'mask2former')),
    *(f'mmdet.models.detectors.{name}' for name in ('maskformer', 'mask2former', 'panoptic_fpn')),
)
OF_THE_PIPELINE = {'LoadImageFromFile', 'Resize', 'PackDetInputs'}  # beside those of this package
LOOKED_UP = {'RoIAlign', 'RoIPool', 'nms', 'soft_nms'}  # in mmcv.ops, without a registry
LONGEST, DEEPEST, LARGEST = 1 << 20, 32, 1 << 14  # characters, levels, numbers
OF_IMAGES = re.compile(r'(pipeline|image_size|model\.data_preprocessor)\b')
LARGEST_SIDE, LARGEST_IMAGE = 1 << 13, 1 << 25  # pixels to the side, and in all
WORD = re.compile(r'\w[\w.+-]{0,63}', re.ASCII)


def add_recipe(meta: dict, cfg: Mapping, dataset: Any) -> None:
    """Add the JSON text to ``meta``, from the config of a run and the data set it trains on.

    Where it could not be read again, as it names a part of the user's own, a warning tells that,
    once.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if not (isinstance(loader, Mapping) and isinstance(cfg.get('model'), Mapping)):
        return
    try:
        ids = getattr(dataset, 'category_ids', None)
        ids = None if ids is None or None in ids else ids  # a class that the file does not have
        recipe = recipe_of(cfg.model, loader.dataset, ids)
        text = json.dumps(recipe)
        read_recipe(text)
    except RuntimeError:  # of mmdet, for data without a pipeline
        return
    except (UserError, TypeError) as error:
        _warn(f'The checkpoints of this run need their config for inference: {error}')
    else:
        meta[RECIPE] = text


def recipe_of(model: Mapping, dataset: Mapping, category_ids: list[int] | None = None) -> dict:
    """The plain form of a model and of the pipeline of its test data set."""
    steps = get_test_pipeline_cfg(ConfigDict(test_dataloader=dict(dataset=dataset)))
    kept = [step for step in map(_plain, steps) if not is_truth(step['type'])]
    size = _image_size(dataset)
    return dict(model=_plain(model), pipeline=kept, image_size=size, category_ids=category_ids)


def read_recipe(text: Any) -> dict:
    """The dicts of such a text: ``model``, ``pipeline``, ``image_size`` and ``category_ids``.

    Raises:
        UserError: it holds something that could do more than describe a model.
    """
    try:
        if not isinstance(text, str) or len(text) > LONGEST:
            raise ValueError(f'no text of at most {LONGEST} characters')
        recipe = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused('', f'which cannot be read ({type(error).__name__})') from None
    forms = dict(model=dict, pipeline=list, image_size=list | None, category_ids=list | None)
    if not isinstance(recipe, dict) or recipe.keys() != forms.keys():
        raise _refused('', f'which does not have the keys {", ".join(forms)}')
    for key, form in forms.items():
        if not isinstance(recipe[key], form):
            raise _refused(key, f'which is a {type(recipe[key]).__name__}')
        if key != 'category_ids':
            _check(recipe[key], key, DEEPEST)
    steps = [step.get('type') for step in recipe['pipeline'] if isinstance(step, dict)]
    if steps[:1] != ['LoadImageFromFile']:
        raise _refused('pipeline', 'which does not begin with LoadImageFromFile')
    for key, counts in (('image_size', (2,)), ('category_ids', range(1, LONGEST))):
        numbers = recipe[key]
        if numbers is None:
            continue
        if len(numbers) not in counts or not all(type(n) is int and n >= 0 for n in numbers):
            raise _refused(key, 'which is no such list of whole numbers')
    return recipe


def is_truth(name: str) -> bool:
    """Whether a transform loads the truth, which inference does not have."""
    return name.startswith('Load') and name != 'LoadImageFromFile'


def _image_size(dataset: Mapping) -> list[int] | None:
    while 'pipeline' not in dataset:  # a wrapper, as in get_test_pipeline_cfg
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    fitted = dataset.get('image_size') and not dataset.get('own_scale')
    return list(dataset['image_size']) if fitted else None


def _plain(value: Any) -> Any:
    """Nested dicts and lists with registered names for classes, without what is left out."""
    if isinstance(value, Mapping):
        plain = {key: _plain(each) for key, each in value.items() if key not in LEFT_OUT}
        return plain | ({'type': _name_of(value['type'])} if 'type' in value else {})
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _name_of(part: Any) -> str:
    """The registered name of a class, or of a name that has its scope or module before it."""
    name = part.rpartition('.')[2] if isinstance(part, str) else part.__name__
    kinds = [_registered(name, registry) for registry in (MODELS, TASK_UTILS, TRANSFORMS)]
    same = any(kind is not None and kind in (part, _class_named(part)) for kind in kinds)
    return name if same or name == part else f'{getattr(part, "__module__", "")}{part}'


def _class_named(name: Any) -> Any:
    for registry in (MODELS, TASK_UTILS, TRANSFORMS) if isinstance(name, str) else ():
        try:
            return registry.get(name)
        except RuntimeError:  # it is not in this one
            continue
    return None


def _registered(name: str, registry: Any) -> Any:
    """The class of this very name in a registry or its parents, without any import."""
    while registry is not None:
        if name in registry.module_dict:
            return registry.module_dict[name]
        registry = registry.parent
    return None


def _check(value: Any, place: str, levels: int) -> None:
    """Raise a :class:`UserError` where a value could do more than describe a model."""
    if not levels:
        raise _refused(place, f'which is nested more than {DEEPEST} levels deep')
    if isinstance(value, dict):
        for key, each in value.items():
            if key in LEFT_OUT or not WORD.fullmatch(key):
                raise _refused(place, f'which has the key {key[:60]!r}')
            if key == 'type':
                _check_type(each, f'{place}.type')
            else:
                _check(each, f'{place}.{key}', levels - 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _check(each, f'{place}.{number}', levels - 1)
        if OF_IMAGES.match(place) and len(value) == 2 and not {*map(type, value)} - {int, float}:
            if value[0] * value[1] > LARGEST_IMAGE:
                raise _refused(place, f'a size of more than {LARGEST_IMAGE} pixels')
    elif isinstance(value, str) and value and not WORD.fullmatch(value):
        raise _refused(place, f'which is {value[:60]!r}')
    elif isinstance(value, int | float):
        largest = LARGEST_SIDE if OF_IMAGES.match(place) else LARGEST
        if not abs(value) <= largest:  # nor what is no number
            raise _refused(place, f'which is above {largest}')


def _check_type(name: Any, place: str) -> None:
    if place.startswith('model') and isinstance(name, str):
        kinds = [_registered(name, MODELS), _registered(name, TASK_UTILS)]
        allowed = name in LOOKED_UP or any(_comes_from(kind, MODULES) for kind in kinds)
    else:
        own = isinstance(name, str) and _registered(name, TRANSFORMS)
        allowed = own and (name in OF_THE_PIPELINE or _comes_from(own, MODULES[:1]))
    if not allowed:
        raise _refused(place, f'which is {str(name)[:60]!r}, no part that may be named there')


def _comes_from(kind: Any, modules: tuple[str, ...]) -> bool:
    module = getattr(kind, '__module__', None) or ''
    return f'{module}.'.startswith(tuple(f'{each}.' for each in modules))


def _refused(place: str, what: str) -> UserError:
    return UserError(
        f'the config that is carried along has {place or "a text"}, {what}: give the config file '
        'itself, with the checkpoint as weights.'
    )


@functools.cache
def _warn(sentence: str) -> None:
    print_log(sentence, 'current', logging.WARNING)
