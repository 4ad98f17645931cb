"""Class counts of model and data must agree before the first iteration, not when a label overruns a tensor."""

from collections.abc import Iterator

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn

from cmt_deeplab.errors import UserError

Counts = tuple[int, int]  # things, stuff


def model_class_counts(model: nn.Module) -> Counts | None:
    """``num_things_classes`` and ``num_stuff_classes`` of the model or, in mmdet's own models, of one of its heads; None if it has none."""
    if is_model_wrapper(model):
        model = model.module
    for part in (
        model,
        *(
            getattr(model, name, None)
            for name in ('panoptic_head', 'semantic_head', 'panoptic_fusion_head')
        ),
    ):
        counts = tuple(
            getattr(part, key, None) for key in ('num_things_classes', 'num_stuff_classes')
        )
        if None not in counts:
            return counts
    return None


def check_class_counts(counts: Counts, dataset, name: str) -> None:
    """Compare a model's (things, stuff) with the metainfo of ``dataset``; ``name`` is the config key of its data loader.

    Raises:
        ValueError: if they differ.
    """
    metainfo = dataset.metainfo
    if 'thing_classes' not in metainfo or 'stuff_classes' not in metainfo:
        return
    found = len(metainfo['thing_classes']), len(metainfo['stuff_classes'])
    if found != tuple(counts):
        source = getattr(dataset, 'ann_file', type(dataset).__name__)
        raise UserError(
            f'The model has num_things_classes={counts[0]} and num_stuff_classes={counts[1]}, but {name}.dataset ({source}) has {found[0]} '
            f'thing and {found[1]} stuff classes: set the config variables num_things_classes={found[0]} and num_stuff_classes={found[1]}, '
            f'or correct {name}.dataset.metainfo.'
        )


def check_same_classes(first, second, names: tuple[str, str]) -> None:
    """Two data sets of one run must have the same classes in the same order.

    Raises:
        ValueError: if they differ.
    """
    one, other = (tuple(dataset.metainfo.get('classes', ())) for dataset in (first, second))
    if one and other and one != other:
        differing = next(
            (pair for pair in zip(one, other) if pair[0] != pair[1]), (len(one), len(other))
        )
        raise UserError(
            f'{names[0]}.dataset and {names[1]}.dataset have different classes (first difference: {differing[0]!r} and '
            f'{differing[1]!r}): give both the same metainfo.'
        )


@HOOKS.register_module()
class PanopticClassCheckHook(Hook):
    """Before anything runs, compare the model's class counts with every data set of the run, and the data sets with each other.

    Raises:
        ValueError: if they disagree, naming the config keys to set.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner) -> None:
        counts = model_class_counts(runner.model)
        known = None
        for name, dataset in built_datasets(runner):
            if counts is not None:
                check_class_counts(counts, dataset, name)
            if known is not None:
                check_same_classes(known[1], dataset, (known[0], name))
            known = known or (name, dataset)
        if counts is None and is_main_process():
            runner.logger.info(
                'PanopticClassCheckHook: the model states no class counts, nothing was compared.'
            )


def built_datasets(runner) -> Iterator[tuple]:
    """The data sets that this run uses, each after the config key of its data loader."""
    for split in ('train', 'val', 'test'):
        loop = getattr(runner, f'_{split}_loop', None)
        if isinstance(loop, BaseLoop):  # otherwise a config that this run does not use
            yield f'{split}_dataloader', loop.dataloader.dataset
