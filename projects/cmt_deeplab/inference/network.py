"""A trained network with its pipeline: it turns images into segment maps, as an evaluation does."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.apis import init_detector
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from cmt_deeplab.categories import class_list
from cmt_deeplab.checkpoints.carried import blaming_the_config, build_carried
from cmt_deeplab.checkpoints.entries import RECIPE
from cmt_deeplab.checkpoints.of_work_dir import best_checkpoint
from cmt_deeplab.checkpoints.recipe import LARGEST_IMAGE, is_truth, read_recipe, recipe_of
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.config_names import CHECKPOINTS
from cmt_deeplab.devices import chosen_device
from cmt_deeplab.errors import UserError, mistakes_as_user_errors
from cmt_deeplab.evaluation.data_sample import predicted_plane
from cmt_deeplab.models.detectors.windows import PredictedInWindows
from cmt_deeplab.panoptic_fields import is_color
from cmt_deeplab.postprocess.merge_base import PanopticMerge
from cmt_deeplab.renamed import rename_weights

TRIED_SIDES = [32 << k for k in range(5)]  # of the images that test a carried config


@dataclass(frozen=True, kw_only=True)
class Network:
    """What the inferencer needs of a model, in PyTorch or exported.

    ``category_ids`` are those of the annotation file of the training, by label, if known.
    ``carried_by`` is the checkpoint that carried the config, or None if the user gave the config.
    """

    model: nn.Module
    steps: Sequence[Any]  # the transforms of the pipeline, the loading of the image first
    image_size: Sequence[int] | None  # of the test data set, for the transforms
    classes: tuple[str, ...]
    num_things_classes: int
    palette: list[tuple[int, int, int]] | None
    category_ids: list[int] | None
    recipe: Mapping[str, Any]  # of recipe.py
    carried_by: str | None = None

    def in_windows(self, size: Sequence[int]) -> 'Network':
        """This network on images at their own scale, in windows of ``size`` (height, width).

        Raises:
            UserError: the model cannot predict in windows.
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
        """The segment map (H, W) of each loaded image, and its segments if the model tells them.

        The values are those of ``coco_format.map_value``. ``thresholds`` (C,) are the smallest
        class probabilities; nan keeps the threshold of the model.
        """
        with torch.no_grad(), self._thresholds(thresholds), blaming_the_config(self.carried_by):
            samples = self.model.test_step(pseudo_collate([self.pack(each) for each in loaded]))
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
                'has one of its own: export a model without --merge, and set the limits of one of '
                'mmdet in its config (model.test_cfg).'
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
        recipe_of(config.model, config.test_dataloader.dataset),
        pipeline=get_test_pipeline_cfg(config),
    )
    return as_network(network, recipe, network.dataset_meta, str(weights))


def _from_checkpoint(path: str, device: str) -> Network:
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    meta = content.get('meta') or {} if isinstance(content, dict) else {}
    if RECIPE not in meta:
        raise UserError(
            f'{path} does not carry its config, as an earlier version or another program has '
            f"written it: give the config too, PanopticInferencer('CONFIG.py', weights={path!r}) "
            f'or cmt-deeplab predict CONFIG.py IMAGES --weights {path}.'
        )
    with blaming_the_config(path):
        recipe = read_recipe(meta[RECIPE])
        state = content['state_dict']
        rename_weights(state)
        model = build_carried(recipe['model'], state, path)
        network = as_network(model, recipe, meta.get('dataset_meta') or {}, path)
        _try_pipeline(network)
    model.to(device)
    return replace(network, carried_by=path)


def _try_pipeline(network: Network) -> None:
    """Run the pipeline on small square images.

    Raises:
        UserError: it makes a huge image of one. (What else fails is an error of any kind.)
    """
    for side in TRIED_SIDES:  # as some sizes are multiples of theirs
        gray = np.full((side, side, 3), 128, np.uint8)
        batch = pseudo_collate([network.pack(network.load(gray))])
        _require_modest(batch, side)
        if side == TRIED_SIDES[0]:  # larger ones may be for windows, or not fit
            _require_modest(network.model.data_preprocessor(batch), side)


def _require_modest(batch: Mapping, side: int) -> None:
    height, width = batch['inputs'][0].shape[-2:]
    if height * width > LARGEST_IMAGE:
        raise UserError(
            f'the config that is carried along makes images of {width}x{height} pixels of those '
            f'of {side}x{side}: give the config file itself, with the checkpoint as weights.'
        )


def as_network(model: nn.Module, recipe: Mapping, meta: Any, path: str) -> Network:
    """The network of a model.

    Args:
        recipe: as :func:`recipe_of` gives it.
        meta: the meta information of the data set: class names and palette.
        path: the file that holds it, for messages.

    Raises:
        UserError: they do not belong together.
    """
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
        recipe=recipe,
    )


def _short(kind: Any) -> str:
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__
