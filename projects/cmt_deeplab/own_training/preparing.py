"""Before a training on own data: the data are looked at, and a config is written for them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from cmt_deeplab.errors import UserError
from cmt_deeplab.estimate import settle_batch
from cmt_deeplab.own_data import PanopticFolder, open_data
from cmt_deeplab.own_data.class_names import class_list
from cmt_deeplab.panoptic_json import read_panoptic_json

from .choices import Choices, choose
from .leaf import leaf
from .models import recipe

CONFIG = 'config.py'  # in the work dir, with all that the run needs
SHORT = 'short.py'  # the same as a leaf of the recipe
NUM_PICTURES = 8  # of the validation, about


def prepared(
    data: Path,
    folder: Path,
    *,
    model: str,
    opening: dict[str, Any],
    image_size: int | Sequence[int] | None,
    windows: bool,
    iters: int | None,
    batch: int | Literal['auto'] | None,
    weights: str | Path | None,
    seed: int,
) -> Config:
    """The config of a new training, which is written into its folder; tells what it chooses.

    ``opening`` are arguments of :func:`open_data`; an answer of the user is added to them.
    """
    own, base = recipe(model)

    def ask(names: Sequence[str]) -> Sequence[str]:
        opening['stuff'] = ask_for_stuff(names) or 'none'  # for the config, too
        return [] if opening['stuff'] == 'none' else opening['stuff']

    opened = open_data(data, ask=ask if sys.stdin.isatty() else None, **opening)
    for note in opened.notes:
        print(note)
    first = Config.fromfile(str(base))
    aligned = first.model.align_corners
    side = (image_size, image_size) if isinstance(image_size, int) else image_size
    choices = choose(
        opened.train,
        num_centers=first.model.panoptic_head.transformer_decoder.num_centers,
        side=own.side,
        align_corners=aligned,
        image_size=side and tuple(side),
        windows=windows,
    )
    for sentence in choices.sentences:
        print(sentence)
    tell_findings(opened, choices, windows)
    text = leaf(
        base,
        data,
        choices,
        opening=opening | (dict(windows=True) if windows else {}),
        iterations=iters or own.iterations,
        batch=batch or first.train_dataloader.batch_size,
        weights=weights,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SHORT).write_text(text, encoding='utf-8')
    cfg = Config.fromfile(str(folder / SHORT))
    cfg.work_dir, cfg.randomness = str(folder), dict(seed=seed)
    scheduler = cfg.param_scheduler[0]
    scheduler.warmup = min(scheduler.warmup, cfg.train_cfg.max_iters // 10)
    hooks = cfg.default_hooks
    hooks.logger.interval = min(hooks.logger.interval, cfg.train_cfg.max_iters)
    hooks.checkpoint.interval = cfg.train_cfg.val_interval
    images = read_panoptic_json(str(opened.val.ann_file), needs=('images',))['images']
    hooks.visualization.interval = max(1, len(images) // NUM_PICTURES)
    cfg.auto_scale_lr.enable = batch is not None
    if weights == 'none':
        cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=dict())
    if said := settle_batch(cfg):
        print(said)
    cfg.dump(str(folder / CONFIG))
    return Config.fromfile(str(folder / CONFIG))


def ask_for_stuff(names: Sequence[str]) -> Sequence[str]:
    """Ask in the terminal which of the classes are stuff."""
    print(f'The classes are {class_list(names)}.')
    answer = input('Which are stuff, as sky and road, without single objects (a,b or none)? ')
    return [] if answer.strip() in ('', 'none') else [n.strip() for n in answer.split(',')]


def tell_findings(opened: PanopticFolder, choices: Choices, windows: bool) -> None:
    """Print the warnings of the doctor's fast checks, which look at whole images.

    Raises:
        UserError: it has found errors.
    """
    from cmt_deeplab.doctor import examine

    findings = examine(
        opened,
        num_centers=choices.num_centers,
        stride=choices.stride,
        image_size=choices.image_size,
        fast=True,
    )
    errors = [f'{f.file}: {f.message} {f.remedy}' for f in findings if f.severity == 'error']
    if errors:
        raise UserError(
            f'The data have {len(errors)} faults, of which the first is: {errors[0]} '
            f'`cmt-deeplab doctor {opened.root}` lists all; give it the same --layout, --stuff and '
            '--background.'
        )
    for finding in findings:
        if finding.severity == 'warning' and not (windows and finding.id == 'PD407'):
            print(f'Warning {finding.id}: {finding.file}: {finding.message} {finding.remedy}')
