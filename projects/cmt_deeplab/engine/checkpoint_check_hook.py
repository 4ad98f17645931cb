"""Refuses a checkpoint of another model before training or testing starts."""

import re

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop

from cmt_deeplab.errors import UserError
from cmt_deeplab.renamed import rename_weights


@HOOKS.register_module()
class PanopticCheckpointCheckHook(Hook):
    """Compares the names and shapes of a checkpoint with those of the model, before they are loaded.

    Resuming needs every tensor; testing every one but those of parts that only training uses (``training_only``, parts of their names);
    fine-tuning at least one in ten.

    Raises:
        ValueError: the checkpoint does not fit, with the first key that disagrees.
    """

    priority = 'VERY_HIGH'  # before hooks that copy the weights, as EMAHook

    def __init__(self, *, training_only: tuple = ('semantic_head', 'auxiliary_head')) -> None:
        self.training_only = tuple(training_only)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        path = 'of this run' if runner._load_from is None else runner._load_from
        if not isinstance(checkpoint, dict):
            raise UserError(
                f'The checkpoint {path} holds a {type(checkpoint).__name__}, not the tensors of a model by name; use a .pth '
                'file that training wrote.'
            )
        stored = checkpoint.get('state_dict', checkpoint)
        rename_weights(stored)
        stored = {
            re.sub(r'^module\.', '', key): value
            for key, value in stored.items()
            if hasattr(value, 'shape')
        }
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        expected = {
            key: value
            for key, value in model.state_dict().items()
            if not key.startswith('data_preprocessor.')
        }
        missing = [key for key in expected if key not in stored]
        shapes = [
            key for key in expected if key in stored and stored[key].shape != expected[key].shape
        ]
        fitting = len(expected) - len(missing) - len(shapes)
        if 10 * fitting < len(expected):
            example = (missing or shapes)[0]
            raise UserError(
                f'The checkpoint {path} is one of another model: {fitting} of {len(expected)} tensors fit '
                f"('{example}' does not); use the checkpoint that belongs to this config."
            )
        training = isinstance(runner._train_loop, BaseLoop)
        if training and not runner._resume:
            return
        if not training:
            missing = [
                key for key in missing if not any(part in key for part in self.training_only)
            ]
            shapes = [key for key in shapes if not any(part in key for part in self.training_only)]
        if shapes:
            key = shapes[0]
            raise UserError(
                f"The checkpoint {path} does not fit the config: '{key}' has shape {tuple(stored[key].shape)} in the "
                f'checkpoint and {tuple(expected[key].shape)} in the model; use the config it was trained with, class counts '
                'included.'
            )
        if missing:
            raise UserError(
                f"The checkpoint {path} does not fit the config: it has no '{missing[0]}' ({len(missing)} of {len(expected)} "
                'tensors are missing); use the config it was trained with.'
            )
