"""A hook that compares the classes of model, data sets and checkpoint, before a run."""

import re
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any

from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn

from cmt_deeplab.categories import (
    Class,
    category_labels,
    class_list,
    classes_of_checkpoint,
    first_difference,
)
from cmt_deeplab.construction import keywords
from cmt_deeplab.datasets.dataset_check import (
    SAME,
    innermost,
    innermost_ones,
    one_metainfo,
    source_of,
)
from cmt_deeplab.errors import UserError
from cmt_deeplab.panoptic_json import read_panoptic_json

# heads of mmdet that predict things alone, by the last name of their place in the model
HEADS_OF_THINGS = {'bbox_head', 'mask_head', 'mask_iou_head', 'query_head', 'grid_head'}


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself where a wrapper, of distributed training or of --tta, holds it."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def built_datasets(runner: Any) -> Iterator[tuple[str, Any]]:
    """The data sets that this run uses, each after the config key of its data loader."""
    for split in ('train', 'val', 'test'):
        loop = getattr(runner, f'_{split}_loop', None)
        if isinstance(loop, BaseLoop):  # otherwise the config of a loop that this run does not use
            yield f'{split}_dataloader', loop.dataloader.dataset


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


def refuse_labels_by_position(dataset: Any) -> None:
    """Refuse a data set of mmdet's own class whose labels are not those of its names.

    mmdet numbers the categories in the order of the file, and names them in the order of metainfo.
    """
    labels = getattr(dataset, 'cat2label', None)
    if not (labels and isinstance(dataset, CocoPanopticDataset)):
        return
    categories = read_panoptic_json(dataset.ann_file, needs=('categories',))['categories']
    right = category_labels(categories, dataset.metainfo)
    for category in categories:
        if labels.get(category['id']) not in (None, right[category['id']]):
            raise UserError(
                f'{dataset.ann_file} lists its categories in another order than the classes of '
                f'{type(dataset).__name__}, which gives {category["name"]!r} the name of another '
                'class: take the type PanopticIndexDataset, which goes by name.'
            )


def number_of_centers(model: nn.Module) -> tuple[int | None, str]:
    """How many segments a model can find in an image, if it says so, and the key to raise."""
    head = getattr(unwrapped(model), 'panoptic_head', None)
    centers = getattr(getattr(head, 'transformer_decoder', None), 'centers', None)
    if centers is not None:
        return centers.shape[-1], 'model.panoptic_head.transformer_decoder.num_centers'
    return getattr(head, 'num_queries', None), 'model.panoptic_head.num_queries'  # mmdet's


def warn_of_few_centers(runner: Any, dataset: Any) -> None:
    """Warn where an image of a training set has more segments than the model can tell apart."""
    number, key = number_of_centers(runner.model)
    for part in innermost_ones(dataset):
        most = getattr(part, 'most_segments', 0)
        if number is not None and most > number:
            runner.logger.warning(
                f'An image of {source_of(part)} has {most} segments, but the model finds at most '
                f'{number}: raise {key} to learn all of them.'
            )


@HOOKS.register_module()
class PanopticClassCheckHook(Hook):
    """Compare the classes of model, data sets and checkpoint, before the run starts.

    The numbers of classes of the model are those of every data set. All data sets have the same
    classes in the same order, and a checkpoint that is tested or resumed was trained for them. A
    training that only begins with its weights may have other classes, which is said in a warning,
    but not the same ones in another order. Data sets that do not say which of their classes are
    things hold things alone.

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
            classes = class_list(one_metainfo(dataset))
            if not classes:
                continue
            for part in innermost_ones(dataset):
                refuse_labels_by_position(part)
            if name == 'train_dataloader':
                warn_of_few_centers(runner, dataset)
            name = f'{name}.dataset'
            self._compare_counts(counts, classes, name, dataset)
            first = first or (name, classes)
            difference = first_difference(first[1], classes, owners=(first[0], name))
            if difference:
                raise UserError(f'Two data sets have different classes: {difference}; {SAME}.')

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        stored = classes_of_checkpoint(checkpoint)
        beginning = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        for name, dataset in built_datasets(runner):
            classes = class_list(one_metainfo(dataset))
            if classes and not stored and not beginning:
                runner.logger.warning(
                    f'The checkpoint {runner._load_from or "of this run"} does not name its '
                    f'classes, which are taken for those of {name}.dataset in their order '
                    f'({reprlib.repr([c for c, _ in classes])}); metainfo gives another order.'
                )
                return
            owners = 'the checkpoint', source_of(innermost(dataset))
            difference = stored and classes and first_difference(stored, classes, owners=owners)
            if not difference:
                continue
            what = (
                f'The checkpoint {runner._load_from or "of this run"} was trained for other '
                f'classes than those of {name}.dataset: {difference}'
            )
            if beginning and {c for c, _ in stored} != {c for c, _ in classes}:
                runner.logger.warning(
                    f'{what}; where their number fits, the class predictor begins with what it '
                    'knows of its own, so give classes that both have the same labels by metainfo.'
                )
                return
            raise UserError(
                f'{what}; give {name}.dataset.metainfo the classes of the checkpoint in its order, '
                'or use another checkpoint.'
            )

    @staticmethod
    def _compare_counts(counts: dict, classes: Sequence[Class], name: str, dataset: Any) -> None:
        stuff = sum(is_thing is False for _, is_thing in classes)
        things = len(classes) - stuff
        expected = {'thing': things, 'stuff': stuff, 'class weights': things + stuff + 1}
        wrong = {key: kind for key, (count, kind) in counts.items() if count != expected[kind]}
        if not wrong:
            return
        stated = ' and '.join(f'{key}={counts[key][0]}' for key in wrong)
        right = ' and '.join(f'{key}={expected[kind]}' for key, kind in wrong.items())
        if 'model.num_things_classes' in wrong or 'model.num_stuff_classes' in wrong:
            right = (
                f'the config variables num_things_classes={things} and num_stuff_classes={stuff}'
            )
        raise UserError(
            f'The model has {stated}, but {name} ({source_of(innermost(dataset))}) has {things} '
            f'thing and {stuff} stuff classes: set {right}, or give {name}.metainfo the classes of '
            'the model.'
        )
