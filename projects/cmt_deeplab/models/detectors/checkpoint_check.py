"""Weights and classes of a checkpoint compared with a model, also in mmdet's inference API."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from mmdet.evaluation import get_classes
from mmdet.registry import DATASETS
from mmengine.config import Config
from torch import nn

from cmt_deeplab.categories import class_list, first_difference
from cmt_deeplab.errors import UserError, mistakes_as_user_errors

# Parts of the names of tensors that only training uses.
TRAINING_ONLY = ('semantic_head', 'auxiliary_head')


def shapes_of(state_dict: Mapping[str, Any], prefix: str = '') -> dict[str, tuple]:
    """The shapes of the tensors in a state dict, by their names without the prefix."""
    return {
        name.removeprefix('module.').removeprefix(prefix): tuple(value.shape)
        for name, value in state_dict.items()
        if hasattr(value, 'shape')
    }


def compare_weights(
    found: Mapping[str, tuple], model: nn.Module, *, checkpoint: str, unneeded: Collection[str]
) -> None:
    """Compare the shapes of a checkpoint's tensors with those of the model, by name.

    ``unneeded`` are parts of names of tensors that may differ; '' is part of every name.

    Raises:
        UserError: less than a tenth of the tensors fit, or one that is needed does not.
    """
    expected = {
        key: shape
        for key, shape in shapes_of(model.state_dict()).items()
        if not key.startswith('data_preprocessor.')
    }
    unfit = [key for key in expected if found.get(key) != expected[key]]
    fitting = len(expected) - len(unfit)
    if 10 * fitting < len(expected):
        raise UserError(
            f'{checkpoint} is one of another model: {fitting} of {len(expected)} tensors fit '
            f"('{unfit[0]}' does not); use the checkpoint that belongs to this config."
        )
    needed = [key for key in unfit if not any(part in key for part in unneeded)]
    if needed:
        # a tensor of another shape says more about the mistake than one that is missing
        key = min(needed, key=lambda key: key not in found)
        what = (
            f"'{key}' has shape {found[key]} in the checkpoint and {expected[key]} in the model"
            if key in found
            else f"it has no '{key}' ({len(needed)} of {len(expected)} tensors are missing)"
        )
        raise UserError(
            f'{checkpoint} does not fit the config: {what}; use the config that it was trained '
            'with, with its numbers of classes.'
        )


class ComparedWithCheckpoint:
    """A detector that is compared with its checkpoint where mmdet's inference API has built it.

    ``init_detector`` and ``DetInferencer`` load the tensors that fit, and set ``dataset_meta``, the
    metainfo in the checkpoint, and ``cfg``. Then the weights are compared with the model, and the
    classes with its class counts and with the config. Where a checkpoint does not say which classes
    are things, they give it the 80 names of COCO's boxes or those that it has; these are replaced
    by the classes of the config's test set, or else divided by the class counts of the model.

    Raises, once both are set:
        UserError: the checkpoint does not have the weights of the model, or was trained for other
            classes than the model or the test set has.
    """

    _loaded: Mapping[str, tuple] | None = None  # shapes of the tensors
    _cfg: Config | None = None
    _dataset_meta: dict | None = None

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Both torch and mmengine load a state dict by it."""
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._loaded = shapes_of(state_dict, prefix)

    def to(self, *args: Any, **kwargs: Any) -> nn.Module:
        """As in torch; a device that is not there is told in one sentence."""
        try:
            with mistakes_as_user_errors():
                return super().to(*args, **kwargs)
        except RuntimeError as error:
            device = kwargs.get('device', args[0] if args else None)
            reason = str(error).partition('\n')[0]
            raise UserError(
                f'The model cannot go to the device {device!r} ({reason}): give one that torch '
                "has here, such as 'cpu'."
            ) from error

    @property
    def cfg(self) -> Config | None:
        return self._cfg

    @cfg.setter
    def cfg(self, cfg: Config | None) -> None:
        self._cfg = cfg
        self._compare()

    @property
    def dataset_meta(self) -> dict | None:
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict | None) -> None:
        self._dataset_meta = meta
        self._compare()

    def _compare(self) -> None:
        meta = self._dataset_meta
        if not meta or 'test_dataloader' not in (self._cfg or {}):
            return
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            compare_weights(loaded, self, checkpoint='The checkpoint', unneeded=TRAINING_ONLY)
        dataset = DATASETS.build(dict(deepcopy(self._cfg.test_dataloader.dataset), lazy_init=True))
        if 'thing_classes' not in meta:
            known = {**getattr(dataset, 'METAINFO', {}), **dataset.metainfo}
            meta = self._dataset_meta = self._with_kinds(meta, known)
        elif self._counts(meta) != (self.num_things_classes, self.num_stuff_classes):
            things, stuff = self._counts(meta)
            raise UserError(
                f'The checkpoint was trained for {things} thing and {stuff} stuff classes, but the '
                f'config has num_things_classes={self.num_things_classes} and num_stuff_classes='
                f'{self.num_stuff_classes}: use the config that it was trained with.'
            )
        stated, classes = class_list(meta), class_list(dataset.metainfo)
        if classes and set(stated) != set(classes):  # in any order, as labels are the checkpoint's
            owners = 'the checkpoint', 'test_dataloader.dataset of the config'
            raise UserError(
                'The checkpoint was trained for other classes than those of the config: '
                f'{first_difference(stated, classes, owners=owners)}; give '
                'test_dataloader.dataset.metainfo the classes of the checkpoint, or use another '
                'checkpoint.'
            )

    @staticmethod
    def _counts(metainfo: dict) -> tuple[int, int]:
        things, stuff = (metainfo.get(f'{kind}_classes') or () for kind in ('thing', 'stuff'))
        return len(things), len(stuff)

    def _with_kinds(self, meta: dict, known: dict) -> dict:
        """``meta`` with things and stuff, or ``known`` where it has no names for this model."""
        names, things = list(meta.get('classes') or ()), self.num_things_classes
        if len(names) != self.num_classes or names == get_classes('coco'):
            if self._counts(known) == (things, self.num_stuff_classes):
                return {**known, **{key: meta[key] for key in ('palette',) if key in meta}}
            names = [f'class {label}' for label in range(self.num_classes)]
        return dict(meta, classes=names, thing_classes=names[:things], stuff_classes=names[things:])
