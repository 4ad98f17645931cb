"""A hook that compares the classes of the model with those of the data sets, before a run."""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn

from cmt_deeplab.construction import keywords
from cmt_deeplab.datasets.dataset_check import wrapped_datasets
from cmt_deeplab.errors import UserError

# heads of mmdet that predict things alone, by the last name of their place in the model
HEADS_OF_THINGS = {'bbox_head', 'mask_head', 'mask_iou_head', 'query_head', 'grid_head'}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself where a wrapper for distributed training holds it."""
    return model.module if is_model_wrapper(model) else model


def built_datasets(runner: Any) -> Iterator[tuple[str, Any]]:
    """The data sets that this run uses, each after the config key of its data loader."""
    for split in ('train', 'val', 'test'):
        loop = getattr(runner, f'_{split}_loop', None)
        if isinstance(loop, BaseLoop):  # otherwise the config of a loop that this run does not use
            yield f'{split}_dataloader', loop.dataloader.dataset


def metainfo_of(dataset: Any) -> dict:
    """What a data set, or the first one in a wrapper such as ConcatDataset, says of its classes."""
    metainfo = getattr(dataset, 'metainfo', None)
    if metainfo:
        return metainfo
    inner = wrapped_datasets(dataset)
    return metainfo_of(inner[0]) if inner else {}


def model_class_counts(model: nn.Module) -> dict[str, tuple[int, str]]:
    """The numbers of classes of a model by config key, each with the classes that it counts.

    These are 'thing', 'stuff' or 'class weights', of all classes and of no object. A model that
    states both numbers gives them to its own parts; of mmdet's models every head states them.
    """
    model = unwrapped(model)
    counts = {}
    for name, module in model.named_modules():
        key = re.sub(r'\.(\d+)', r'[\1]', f'model.{name}' if name else 'model')
        things, stuff = (
            getattr(module, f'num_{kind}_classes', None) for kind in ('things', 'stuff')
        )
        head = re.sub(r'[.\d]+$', '', name).rpartition('.')[2]
        if isinstance(things, int) and isinstance(stuff, int):
            given = 'num_things_classes' in keywords(type(module))[0]
            if module is model and not given:  # mmdet's MaskFormer copies them from its head
                continue
            counts[f'{key}.num_things_classes'] = things, 'thing'
            counts[f'{key}.num_stuff_classes'] = stuff, 'stuff'
            if module is model:
                return counts
            weights = getattr(getattr(module, 'loss_cls', None), 'class_weight', None)
            if isinstance(weights, Sequence):
                counts[f'len({key}.loss_cls.class_weight)'] = len(weights), 'class weights'
        elif head in HEADS_OF_THINGS and isinstance(getattr(module, 'num_classes', None), int):
            counts[f'{key}.num_classes'] = module.num_classes, 'thing'
    return counts


@HOOKS.register_module()
class PanopticClassCheckHook(Hook):
    """Compare the classes of the model with those of every data set of the run, before it starts.

    Data sets that do not say which of their classes are things hold things alone. All must have the
    same classes, in the same order.

    Raises:
        UserError: they disagree; the message names the config keys to set.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Any) -> None:
        counts = model_class_counts(runner.model)
        if not counts:
            runner.logger.info('The model states no class counts, so they are not checked.')
        first = None
        for name, dataset in built_datasets(runner):
            metainfo = metainfo_of(dataset)
            classes = metainfo.get('classes')
            if not classes:
                continue
            self._compare_counts(counts, metainfo, f'{name}.dataset', dataset)
            first = first or (name, classes)
            for one, other in zip_longest(first[1], classes):
                if one != other:
                    raise UserError(
                        f'{first[0]}.dataset and {name}.dataset have different classes (first '
                        f'difference: {one!r} and {other!r}): give both the same metainfo.'
                    )

    @staticmethod
    def _compare_counts(counts: dict, metainfo: dict, name: str, dataset: Any) -> None:
        things = len(metainfo.get('thing_classes', metainfo['classes']))
        stuff = len(metainfo.get('stuff_classes', ()))
        expected = {'thing': things, 'stuff': stuff, 'class weights': things + stuff + 1}
        wrong = {key: kind for key, (count, kind) in counts.items() if count != expected[kind]}
        if not wrong:
            return
        source = getattr(dataset, 'ann_file', None) or type(dataset).__name__
        stated = ' and '.join(f'{key}={counts[key][0]}' for key in wrong)
        right = ' and '.join(f'{key}={expected[kind]}' for key, kind in wrong.items())
        if 'model.num_things_classes' in counts:
            right = (
                f'the config variables num_things_classes={things} and num_stuff_classes={stuff}'
            )
        raise UserError(
            f'The model has {stated}, but {name} ({source}) has {things} thing and {stuff} stuff '
            f'classes: set {right}, or correct {name}.metainfo.'
        )
