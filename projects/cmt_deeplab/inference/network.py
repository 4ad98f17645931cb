"""A trained network with its pipeline: images in, segment maps out, as in an evaluation."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.apis import init_detector
from mmdet.registry import MODELS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from cmt_deeplab.categories import class_list
from cmt_deeplab.checkpoints.entries import RECIPE
from cmt_deeplab.checkpoints.of_work_dir import best_checkpoint
from cmt_deeplab.checkpoints.recipe import is_truth, read_recipe, recipe_of
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.config_names import CHECKPOINTS
from cmt_deeplab.errors import UserError, mistakes_as_user_errors
from cmt_deeplab.evaluation.data_sample import predicted_plane
from cmt_deeplab.models.detectors.checkpoint_check import TRAINING_ONLY, compare_weights, shapes_of
from cmt_deeplab.models.detectors.windows import PredictedInWindows
from cmt_deeplab.panoptic_fields import is_color
from cmt_deeplab.postprocess.merge_base import PanopticMerge
from cmt_deeplab.renamed import rename_weights

MODULES_PER_TENSOR = 10  # at most; networks have about one


@dataclass(frozen=True, kw_only=True)
class Network:
    """What the inferencer needs of a model; one that runs elsewhere offers the same.

    ``category_ids`` are those of the annotation file it was trained with, by label, where known.
    """

    model: nn.Module
    steps: Sequence[Any]  # the transforms of the pipeline, the loading of the image first
    image_size: Sequence[int] | None  # of the test data set, for the transforms
    classes: tuple[str, ...]
    num_things_classes: int
    palette: list[tuple[int, int, int]] | None
    category_ids: list[int] | None

    def in_windows(self, size: Sequence[int]) -> 'Network':
        """This network on images at their own scale, in windows of ``size`` (height, width).

        Raises:
            UserError: the model is none that predicts in windows.
        """
        if not isinstance(self.model, PredictedInWindows):
            raise UserError(
                f'windows are for the models of this package, and this is a '
                f'{type(self.model).__name__}: leave them out.'
            )
        self.model.set_test_windows(size)
        return replace(self, image_size=None)

    def load(self, given: str | np.ndarray) -> dict:
        """The image at a path, or an array (H, W, 3) in BGR, as the pipeline loads it."""
        return self.steps[0](
            dict(img=given) if isinstance(given, np.ndarray) else dict(img_path=given)
        )

    def predict(
        self, loaded: Sequence[dict], thresholds: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, list[dict] | None]]:
        """The segment map (H, W) of each loaded image, and its segments where they are told.

        The values are those of ``coco_format.map_value``. ``thresholds`` (C,) are the smallest
        class probabilities; where they are nan, those of the model count.
        """
        batch = pseudo_collate([self.pack(each) for each in loaded])
        with torch.no_grad(), self._thresholds(thresholds):
            samples = self.model.test_step(batch)
        found = []
        for sample in samples:
            infos = getattr(sample.get('pred_panoptic_seg'), 'segments_info', None)
            found.append((predicted_plane(dict(sample.to_dict(), img_id=0)), infos))
        return found

    def pack(self, loaded: dict) -> dict:
        """A loaded image as the pipeline packs it for the model."""
        size = dict(image_size=self.image_size) if self.image_size else {}
        return Compose(self.steps[1:])(dict(loaded, img_id=0, **size))

    def _thresholds(self, thresholds: np.ndarray | None) -> Any:
        merge = getattr(self.model, 'postprocess', None)
        if thresholds is None:
            return nullcontext()
        if not isinstance(merge, PanopticMerge):
            raise UserError(
                f'thresholds are for the merges of this package, and {type(self.model).__name__} '
                'has one of its own: set its limits in the config (model.test_cfg), and give that.'
            )
        return patch.object(merge, 'class_thresholds', thresholds)


def load_network(model: Any, weights: str | None, device: str | None) -> Network:
    """The network of a checkpoint that carries its config, or of a config and its weights.

    Raises:
        MissingFileError: a file does not exist.
        UserError: a file cannot be used, they do not belong together, or there is no such device.
    """
    device = chosen_device(device)
    init_default_scope('mmdet')
    if not isinstance(model, Config) and Path(model).is_dir():
        model = best_checkpoint(model)
    if weights is None and not isinstance(model, Config) and str(model).endswith(CHECKPOINTS):
        return _from_checkpoint(str(model), device)
    config = model if isinstance(model, Config) else read_config(str(model))
    if weights is None:
        raise UserError(
            f'{config.filename or "The config"} is a config, which has no weights: give '
            'weights=CHECKPOINT (--weights CHECKPOINT) too, or a checkpoint alone in its place.'
        )
    with mistakes_as_user_errors():
        network = init_detector(config, str(weights), device=device)
    recipe = dict(
        recipe_of({}, config.test_dataloader.dataset), pipeline=get_test_pipeline_cfg(config)
    )
    return _network(network, recipe, network.dataset_meta, str(weights))


def chosen_device(device: str | None) -> str:
    """The device, by default a GPU where torch finds one.

    Raises:
        UserError: torch does not have it here.
    """
    if device is None:
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.empty(0, device=device)
    except Exception as error:  # of many kinds, by device
        reason = str(error).partition('\n')[0].rstrip('.')
        raise UserError(
            f'device={device!r} is not there ({reason}): give one that torch has here, such as '
            "'cpu', or none."
        ) from None
    return device


def _from_checkpoint(path: str, device: str) -> Network:
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    meta = content.get('meta') or {} if isinstance(content, dict) else {}
    if RECIPE not in meta:
        raise UserError(
            f'{path} does not carry its config, as an earlier version or another program has '
            f"written it: give the config too, PanopticInferencer('CONFIG.py', weights={path!r}) "
            f'or cmt-deeplab predict CONFIG.py IMAGES --weights {path}.'
        )
    try:
        recipe = read_recipe(meta[RECIPE])
        state = content['state_dict']
        rename_weights(state)
        build = partial(MODELS.build, ConfigDict(recipe['model']))
        # First without numbers: only what the file has weights for may take memory.
        linspace = partial(torch.linspace, device='cpu')  # constructors look at its numbers
        with torch.device('meta'), patch.object(torch, 'linspace', linspace), _at_most(len(state)):
            empty = build()
        compare_weights(shapes_of(state), empty, checkpoint=path, unneeded=TRAINING_ONLY)
        network = revert_sync_batchnorm(build())
        load_state_dict(network, state, strict=False)
        result = _network(network.to(device).eval(), recipe, meta.get('dataset_meta') or {}, path)
        gray = np.full((32, 32, 3), 128, np.uint8)
        pseudo_collate([result.pack(result.load(gray))])['inputs']  # the pipeline has an end
    except UserError as error:
        text = str(error)
        raise UserError(text if path in text else f'{path}: {text}') from error
    except Exception as error:  # of many kinds, as the config may hold anything
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
        raise UserError(
            f'{path}: the config that is carried along cannot be built ({reason}): give the config '
            'file itself, with the checkpoint as weights.'
        ) from error
    return result


def _at_most(tensors: int) -> AbstractContextManager:
    """Refuses modules by far in excess of the tensors that a checkpoint has for them."""
    numbers = count(1)

    def check(*_: Any) -> None:
        if next(numbers) > MODULES_PER_TENSOR * tensors:
            raise UserError(
                f'The config that is carried along has too many modules for {tensors} tensors: '
                'use a checkpoint that training wrote.'
            )

    return register_module_module_registration_hook(check)


def _network(model: nn.Module, recipe: Mapping, meta: Any, path: str) -> Network:
    steps = [dict(step) for step in recipe['pipeline']]
    steps = Compose([step for step in steps if not is_truth(_short(step['type']))]).transforms
    meta = meta[0] if isinstance(meta, list) else meta
    names = [name for name, _ in class_list(meta)]
    things, stuff = (getattr(model, f'num_{kind}_classes', None) for kind in ('things', 'stuff'))
    if things is None or stuff is None:
        raise UserError(
            f'{type(model).__name__} is no panoptic model, as it has no num_things_classes and '
            'num_stuff_classes: give the config of one.'
        )
    if len(names) != things + stuff:
        raise UserError(
            f'{path} names {len(names)} classes, but its model has {things} thing and {stuff} '
            'stuff classes: use a checkpoint that training wrote.'
        )
    palette, ids = meta.get('palette'), recipe['category_ids']
    if ids and len({*ids}) != len(names):
        raise UserError(
            f'{path} has category_ids that are not {len(names)} different numbers, one for each '
            'class: train again.'
        )
    fits = not isinstance(palette, str | None) and len(palette) == len(names)
    fits = fits and all(map(is_color, palette))
    return Network(
        model=model,
        steps=steps,
        image_size=recipe['image_size'],
        classes=tuple(names),
        num_things_classes=things,
        palette=[*map(tuple, palette)] if fits else None,
        category_ids=ids,
    )


def _short(kind: Any) -> str:
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__
