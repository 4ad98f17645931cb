"""Building the model of a config that a checkpoint carries; such a config may hold anything."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import patch

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.runner.checkpoint import load_state_dict
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from cmt_deeplab.compat import CompiledOpMissing
from cmt_deeplab.errors import UserError, mistakes_as_user_errors
from cmt_deeplab.models.detectors.checkpoint_check import TRAINING_ONLY, compare_weights, shapes_of

MODULES_PER_TENSOR = 10  # the most that are accepted; networks have about one


def build_carried(config: Mapping, state: Mapping[str, Tensor], path: str) -> nn.Module:
    """The model for inference, with the weights of the checkpoint at ``path``.

    It is first built without values, which takes no memory, and compared with the weights. So the
    config cannot ask for a model that is much larger than the file.

    Raises:
        UserError: the weights are those of another model, or the model has far too many modules.
    """
    build = partial(MODELS.build, ConfigDict(config))
    linspace = partial(torch.linspace, device='cpu')  # constructors read its values
    with torch.device('meta'), patch.object(torch, 'linspace', linspace), _at_most(len(state)):
        empty = build()
    compare_weights(shapes_of(state), empty, checkpoint=path, unneeded=TRAINING_ONLY)
    model = revert_sync_batchnorm(build()).eval()
    load_state_dict(model, state, strict=False)
    return model


@contextmanager
def blaming_the_config(path: str | None) -> Iterator[None]:
    """Turn every error into a sentence on the checkpoint ``path``, whose config may hold anything.

    With ``path`` None the config is the user's own, and errors stay as they are.

    Raises:
        UserError: in place of any other error.
    """
    try:
        with mistakes_as_user_errors():
            yield
    except CompiledOpMissing:
        raise
    except UserError as error:
        text = str(error)
        raise UserError(text if path is None or path in text else f'{path}: {text}') from error
    except Exception as error:
        if path is None:
            raise
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
        raise UserError(
            f'{path}: the config that it carries cannot be used ({reason}): give the config file '
            'itself, with the checkpoint as weights.'
        ) from error


def _at_most(tensors: int) -> AbstractContextManager:
    """A context that refuses far more modules than a checkpoint has tensors."""
    numbers = count(1)

    def check(*_: Any) -> None:
        if next(numbers) > MODULES_PER_TENSOR * tensors:
            raise UserError(
                f'The config that is carried along has too many modules for {tensors} tensors: '
                'use a checkpoint that training wrote.'
            )

    return register_module_module_registration_hook(check)
