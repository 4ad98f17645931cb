"""Weights to hand on: tensors in a file of safetensors, and in a JSON file what belongs to them.

Neither format can hold code. The JSON file has the ``dataset_meta`` that says which class a label
is, the ``sha256`` of the file of tensors, what they were trained with, the model and the pipeline
for inference (``recipe.py``), and the config as text for people to read, in which nothing of a path
but its last part is left: nothing reads it back.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from mmengine.fileio import get_local_path
from mmengine.logging import print_log
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.whole_file import whole_file

from .entries import RECIPE, check_entries

SUFFIX = '.safetensors'
PATH = re.compile(r"""(['"])[^'"\n]*[/\\]([^'"\n]*?)\1""")  # in the text of a config
# What a checkpoint of mmengine, or of our converters, tells in its meta about the training.
TRAINING = ('epoch', 'iter', 'seed', 'time', 'experiment_name', 'mmengine_version')
TRAINING += ('converted_from', 'parts')


def write_weights(path: str, weights: Mapping[str, Tensor], meta: Mapping, config: str = '') -> str:
    """Write weights and what belongs to them to ``path``, and return it.

    With the ending .safetensors it gets a JSON file beside it, and ``{sha8}`` in it stands for the
    first digits of the checksum. Otherwise it is written as by mmengine.

    Raises:
        UserError: the JSON file is there and belongs to something else.
    """
    if not path.endswith(SUFFIX):
        with whole_file(path) as part:
            torch.save(dict(state_dict=weights, meta=meta), part)
        return path
    # safetensors takes no tensors that share memory, or whose numbers are not in a row
    copies = {name: each.detach().cpu().contiguous().clone() for name, each in weights.items()}
    content = safetensors.torch.save(copies)
    digest = hashlib.sha256(content).hexdigest()
    path = path.replace('{sha8}', digest[:8])
    about = dict(
        weights=Path(path).name,
        sha256=digest,
        dataset_meta=meta.get('dataset_meta') or {},
        trained_with={key: meta[key] for key in TRAINING if key in meta},
        config=PATH.sub(r'\1\2\1', config),
    )
    if RECIPE in meta:
        about[RECIPE] = json.loads(meta[RECIPE])
    if Path(_beside(path)).exists() and not _read_about(_beside(path)):
        raise UserError(f'{_beside(path)} is there and is not about weights: name another file.')
    text = json.dumps(about, indent=1, default=_plain, skipkeys=True)
    for name, written in ((path, content), (_beside(path), text.encode())):
        with whole_file(name) as part:
            part.write_bytes(written)
    return path


def read_weights(path: str, map_location: Any = None, *_: Any, **__: Any) -> dict:
    """The ``state_dict`` of a file of safetensors, local or at an address, as in a checkpoint.

    Its ``meta`` has the ``dataset_meta`` of the JSON file. Where there is none, as for weights of
    other code bases, it is empty, and a line of the log says so.

    Raises:
        UserError: one of the two files is damaged, or they do not belong together.
    """
    device = map_location if isinstance(map_location, str | torch.device) else 'cpu'
    with get_local_path(os.path.expanduser(path)) as local:
        content = Path(local).read_bytes()
    about = _read_about(_beside(path))
    digest = hashlib.sha256(content).hexdigest()
    if about.get('sha256', digest) != digest:
        raise UserError(
            f'The weights {path} are not those that {_beside(path)} belongs to: copy both again.'
        )
    try:
        weights = safetensors.torch.load(content)
    except Exception as error:  # SafetensorError, and whatever else a damaged header raises
        raise UserError(f'The weights {path} are damaged: copy them again.') from error
    if not about:
        print_log(
            f'The weights {path} have no {_beside(path)} that tells their classes.',
            logger='current',
        )
    classes = about.get('dataset_meta', {})
    if isinstance(classes.get('palette'), list):  # JSON has no tuples
        classes['palette'] = [tuple(c) if isinstance(c, list) else c for c in classes['palette']]
    meta = dict(dataset_meta=classes) if classes else {}
    if RECIPE in about:
        meta[RECIPE] = json.dumps(about[RECIPE])
    state_dict = {name: tensor.to(device) for name, tensor in weights.items()}
    return dict(state_dict=state_dict, meta=meta)


def publish(source: str, name: str) -> str:
    """Write the weights of a checkpoint, those that its evaluation used, and return their path.

    With an exponential moving average these are the averages. ``name`` is a path without ending,
    behind which come the first digits of the checksum.

    Raises:
        UserError: the checkpoint cannot be read, or has no weights.
    """
    from cmt_deeplab.safe_loading import load_weights_only

    content = load_weights_only(source)
    if not isinstance(content, dict) or not isinstance(content.get('state_dict'), dict):
        raise UserError(f'{source} has no state_dict: give a checkpoint that training wrote.')
    check_entries(source, content)
    weights = content['state_dict']
    other = [key for key, value in weights.items() if not isinstance(value, Tensor)]
    if other or not weights:
        what = f"its '{other[0]}' is no tensor" if other else 'it has no weights'
        raise UserError(f'{source} cannot be published, as {what}: give another checkpoint.')
    meta = content.get('meta') or {}
    if RECIPE in meta:
        from .recipe import read_recipe  # it needs mmdet, which this module is imported before

        read_recipe(meta[RECIPE])
    info = (content.get('message_hub') or {}).get('runtime_info') or {}
    texts = (info.get('cfg'), meta.get('cfg'), meta.get('config'))
    config = next((text for text in texts if isinstance(text, str)), '')
    return write_weights(f'{name}-{{sha8}}{SUFFIX}', weights, meta, config)


def _beside(path: str) -> str:
    return path.removesuffix(SUFFIX) + '.json'


def _read_about(path: str) -> dict:
    """What a file of :func:`write_weights` tells, or nothing where it is missing or another one."""
    try:
        with get_local_path(os.path.expanduser(path)) as local:
            about = json.loads(Path(local).read_bytes())
    except OSError:  # also what an address that is not there raises
        return {}
    except (ValueError, RecursionError):
        about = dict(sha256=None)
    if not isinstance(about, dict) or 'sha256' not in about:
        return {}
    if not isinstance(about['sha256'], str) or not isinstance(about.get('dataset_meta'), dict):
        raise UserError(f'{path}, which belongs to weights, is damaged: copy it again.')
    return about


def _plain(value: Any) -> Any:
    """For JSON: the numbers of numpy's arrays and scalars, and the text of all else."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
