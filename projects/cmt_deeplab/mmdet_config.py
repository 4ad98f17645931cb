"""A config of mmdet, or of a toolbox that registers in mmdet, made to fit our data configs.

mmdet's configs bring their own data, so they cannot be a second base beside one of ours. A leaf
inherits our data and takes the model, the optimizer and the schedule from mmdet's config::

    _base_ = [
        '../_base_/datasets/coco_panoptic_masks.py',
        '../_base_/schedules/mmdet.py',
        '../_base_/default_runtime.py',
    ]
    from cmt_deeplab.mmdet_config import mmdet_config

    source = mmdet_config('mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py', _base_)
    model, optim_wrapper = source.model, source.optim_wrapper
    del source
"""

from collections.abc import Mapping

from mmengine.config import Config

from cmt_deeplab.config_loading import read_config
from cmt_deeplab.errors import UserError

# The keys of a scheduler that hold points of time or lengths.
TIMES = ('begin', 'end', 'milestones', 'T_max', 'step_size', 'periods', 'total_steps', 'warmup')


def mmdet_config(name: str, data: Mapping, *, max_iters: int | None = None) -> Config:
    """The config ``name`` with a model for the classes of ``data`` and a schedule by iteration.

    ``name`` is a path or ``mmdet::FOLDER/FILE.py``. ``data`` has ``num_things_classes`` and
    ``num_stuff_classes``, as the ``_base_`` of a leaf that inherits one of our data configs has.
    With ``max_iters`` the schedulers are brought to that length, and ``train_cfg`` holds it alone;
    without it they stay as they are, for a leaf that has another schedule.
    The batch augmentations of the data preprocessor are left out, since they belong to the sizes of
    the images of the other config; mmdet's data preprocessor pads masks and class maps, which our
    data sets give. A model that can give instances or a panoptic map gives the map.

    Raises:
        MissingFileError: there is no such file.
        UserError: there is no such config, it has no model, ``data`` has no class counts, or a loss
            has a weight of its own for each class.
    """
    config = read_config(name)
    if 'model' not in config:
        raise UserError(f'The config {name} has no model: name one that trains a model.')
    model = config.model
    missing = [key for key in ('num_things_classes', 'num_stuff_classes') if key not in data]
    if missing:
        raise UserError(
            f'The data config of the leaf does not set {missing[0]}: inherit one of '
            'configs/_base_/datasets, or set it there.'
        )
    if 'data_preprocessor' in config:
        model.setdefault('data_preprocessor', config.data_preprocessor)
    preprocessor = model.get('data_preprocessor') or {}
    preprocessor.pop('batch_augments', None)
    if preprocessor.get('type') == 'DetDataPreprocessor':
        preprocessor.update(pad_mask=True, pad_seg=True)  # our data sets give both
    set_class_counts(model, data['num_things_classes'], data['num_stuff_classes'])
    if 'panoptic_on' in (model.get('test_cfg') or {}):
        model.test_cfg.update(panoptic_on=True, instance_on=False)
    if max_iters is not None:
        set_length(config, max_iters)
    return config


def set_class_counts(model: dict, things: int, stuff: int) -> None:
    """Write the class counts into every part of a model's config that has one, in place.

    Heads for boxes and masks have the things in ``num_classes``, semantic heads all classes. A list
    ``class_weight`` has one weight of all classes and one of void.

    Raises:
        UserError: such a list has different weights of classes.
    """

    def visit(value: object, path: str) -> None:
        if isinstance(value, list | tuple):
            for i, entry in enumerate(value):
                visit(entry, f'{path}[{i}]')
        if not isinstance(value, dict):
            return
        for key, entry in value.items():
            place = f'{path}.{key}'
            if key == 'num_things_classes':
                value[key] = things
            elif key == 'num_stuff_classes':
                value[key] = stuff
            elif key == 'num_classes':
                value[key] = things + stuff * ('semantic' in path)
            elif key == 'class_weight' and isinstance(entry, list | tuple):
                if len(set(entry[:-1])) > 1:
                    raise UserError(
                        f'{place} has different weights for the classes of its own data: replace '
                        'the list by one number, or set it to as many numbers as there are classes '
                        'here.'
                    )
                value[key] = [entry[0]] * (things + stuff) + [entry[-1]]
            elif key != 'backbone':
                visit(entry, place)

    visit(model, 'model')


def set_length(config: Config, max_iters: int) -> None:
    """Let a config train for ``max_iters`` iterations; its schedulers keep their places in it.

    Those by epoch become schedulers by iteration. A warm-up by iteration beside them keeps its
    length, but takes a tenth of the training at most.
    """
    train = config.get('train_cfg') or {}
    by_epoch = 'max_iters' not in train
    share = max_iters / train.get('max_epochs' if by_epoch else 'max_iters', max_iters)
    schedulers = config.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, dict) else list(schedulers)
    for scheduler in schedulers:
        if by_epoch and not scheduler.get('by_epoch', True):
            scheduler.end = min(scheduler.get('end', max_iters), max_iters // 10)
            continue
        for key in set(TIMES).intersection(scheduler):
            times = scheduler[key]
            several = isinstance(times, list | tuple)
            scheduler[key] = [round(t * share) for t in times] if several else round(times * share)
        scheduler.pop('convert_to_iter_based', None)
        scheduler.by_epoch = False
    config.param_scheduler = schedulers
    config.train_cfg = dict(max_iters=max_iters)
