"""Train a model on own data by one call, which stands behind ``cmt-deeplab train DATA``."""

import json
import shutil
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmengine.config import Config

from cmt_deeplab.errors import TrainingStopped, UserError
from cmt_deeplab.own_data.files import ARGUMENTS, Files
from cmt_deeplab.whole_file import write_json

from .preparing import CONFIG, prepared

if TYPE_CHECKING:
    from mmengine.runner import Runner

MODEL = 'cmt-lite0'  # where none is named
PICTURES = 'pictures'  # of the last validation


def train(
    data: str | Path,
    *,
    model: str | None = None,
    work_dir: str | Path | None = None,
    stuff: str | Sequence[str] | None = None,
    background: str | None = None,
    layout: str | None = None,
    image_size: int | Sequence[int] | None = None,
    windows: bool = False,
    iters: int | None = None,
    minutes: float | None = None,
    batch: int | Literal['auto'] | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    resume: bool = False,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Path:
    """Train a model on own data and show what came of it.

    The work dir holds ``report.html``, the best checkpoint by PQ and the last one, ``pictures`` of
    predictions beside the truth, and two configs that do the same: ``short.py``, a leaf to
    change by hand, and ``config.py``, which names everything and is what ``tools/train.py`` and
    ``resume`` go on with.

    Args:
        data: a folder in any layout that :func:`open_data` knows.
        model: a name of ``RECIPES``, by default 'cmt-lite0'.
        work_dir: by default ``work_dirs/NAME-OF-DATA_MODEL``.
        stuff: the classes that are stuff, where the data do not say so, as in :func:`open_data`;
            in a terminal the command asks.
        background, layout: as in :func:`open_data`.
        image_size: (height, width) or the side of a square, in place of what suits the data.
        windows: leave large images at their own scale: train on crops of the image size, and
            predict in windows of this size, whose segments are joined.
        iters: iterations, in place of those of the recipe.
        minutes: after which the training ends; a slow machine then skips iterations.
        batch: images of an iteration, in place of those of the recipe. 'auto' takes those of the
            recipe, or as many as fit into the free memory by estimate. The learning rate follows.
        weights: the file of the backbone's pretrained weights; 'none' trains from scratch.
        device: 'cpu', 'cuda' or 'cuda:1'; by default a GPU if there is one.
        resume: go on from the last checkpoint in the work dir, with the config and the state of the
            data that it began with. ``iters``, ``minutes``, ``device`` and ``overrides`` may be
            others than before.
        seed: of the split, the weights, the order of the images and all that is drawn, by default
            0.
        overrides: further entries of the config by dotted key.

    Returns:
        The work dir.

    Raises:
        UserError: the data have a fault, an argument does not suit them, or one of a training that
            goes on is not that of before.
    """
    from cmt_deeplab.devices import use_device
    from cmt_deeplab.engine.config_overrides import merge_overrides
    from cmt_deeplab.estimate import settle_batch
    from cmt_deeplab.own_data.class_names import stuff_names

    given = dict(
        files=Files(Path(data)).fingerprint(),
        data=str(Path(data).resolve()),
        model=model,
        stuff=stuff_names(stuff),
        background=background,
        layout=layout,
        image_size=[image_size] * 2 if isinstance(image_size, int) else image_size,
        windows=windows,
        batch=batch,
        weights=weights if weights in (None, 'none') else str(Path(weights).resolve()),
        seed=seed,
    )
    model, seed = model or MODEL, seed or 0
    use_device(device)
    folder = Path(work_dir or f'work_dirs/{Path(data).resolve().name}_{model}')
    if resume:
        if not (folder / CONFIG).is_file():
            raise UserError(f'{folder / CONFIG} does not exist: there is no training to resume.')
        check_same_training(folder, given)
        cfg = Config.fromfile(str(folder / CONFIG))
        cfg.train_cfg.max_iters = iters or cfg.train_cfg.max_iters
    elif any(folder.glob('*.pth')):
        raise UserError(
            f'{folder} has checkpoints of another training: go on with it by --resume, or give '
            'another --work-dir.'
        )
    else:
        opening = dict(stuff=stuff, background=background, layout=layout, seed=seed)
        opening = {name: value for name, value in opening.items() if value is not None}
        cfg = prepared(
            Path(data),
            folder,
            model=model,
            opening=opening,
            image_size=image_size,
            windows=windows,
            iters=iters,
            batch=batch,
            weights=weights,
            seed=seed,
        )
        stuff = stuff_names(opening.get('stuff'))
        write_json(folder / ARGUMENTS, dict(given, model=model, seed=seed, stuff=stuff))
    merge_overrides(cfg, overrides or {})
    if said := settle_batch(cfg):
        print(said)
    runner = run(cfg, minutes=minutes, resume=resume)
    show_result(runner)
    return folder


def check_same_training(folder: Path, given: dict[str, Any]) -> None:
    """Compare the arguments of a training that goes on with those that it began with.

    Arguments that are left out are not compared. A note tells of other files in the data.

    Raises:
        UserError: one has another value.
    """
    if not (folder / ARGUMENTS).is_file():  # of an earlier version
        return
    before = json.loads((folder / ARGUMENTS).read_text(encoding='utf-8'))
    if given.pop('files') != before.pop('files'):
        print(
            f'Files in {given["data"]} have changed since this training began: it goes on with the '
            'annotations that were converted then, and reads other files as they are now.'
        )
    for name, value in json.loads(json.dumps(given)).items():
        began = before[name]
        if not (value is None or value is False or value == began):
            flag = 'DATA' if name == 'data' else f'--{name.replace("_", "-")}'
            with_what = (
                f'without {flag}' if began is None or began is False else f'with {flag} {began}'
            )
            raise UserError(
                f'The training in {folder} began {with_what}, and cannot go on with {value}: give '
                'the same with --resume, or train anew in another --work-dir.'
            )


def run(cfg: Config, *, minutes: float | None, resume: bool) -> 'Runner':
    """Train, with a bar in the terminal and the log in a file; the runner."""
    import torch
    from mmengine.device import get_device

    from cmt_deeplab.engine import PanopticTimeBudgetHook
    from cmt_deeplab.models.backbones.pretrained import remedy
    from cmt_deeplab.reports.progress import ProgressHook, QuietRunner, progress_bar

    cfg.resume = resume
    budget = None
    if minutes is not None:
        stride = max(1, cfg.train_cfg.max_iters // 250)
        budget = PanopticTimeBudgetHook(minutes=minutes, stride=stride)
        cfg.train_cfg.val_interval = validation_interval(cfg.train_cfg, minutes)
    with progress_bar() as bar:
        runner = QuietRunner.from_cfg(cfg)
        if get_device() == 'cpu':  # same results; depthwise convolutions take half as long
            runner.model.to(memory_format=torch.channels_last)
        runner.register_hook(ProgressHook(bar))
        if budget:
            runner.register_hook(budget)
        try:
            runner.train()
        except TrainingStopped:
            print(f'Stopped. The same command with --resume goes on in {cfg.work_dir}.')
            raise
        except UserError as error:  # a flag in place of the entry of a config
            flag = '--weights FILE, or train from scratch with --weights none'
            raise type(error)(str(error).replace(remedy('model.backbone'), flag)) from error
    return runner


def validation_interval(loop: Mapping[str, int], minutes: float) -> int:
    """The iterations from one validation to the next, at most one of which falls in a minute."""
    return max(loop['val_interval'], ceil(loop['max_iters'] / minutes))


def show_result(runner: 'Runner') -> None:
    """Gather the pictures of the last validation, and tell where everything lies and the PQ."""
    folder = Path(runner.work_dir)
    (folder / PICTURES).mkdir(exist_ok=True)
    for picture in Path(runner.log_dir).glob(f'vis_data/vis_image/val_*_{runner.iter}.png'):
        name = picture.stem.removeprefix('val_').removesuffix(f'_{runner.iter}')
        shutil.copyfile(picture, folder / PICTURES / f'{name}.png')
    figures = {
        key: runner.message_hub.get_scalar(f'val/coco_panoptic/{key}').current()
        for key in ('PQ', 'PQ_th', 'PQ_st')
    }
    print(folder / 'report.html')
    print('PQ {PQ:.2f}  of things {PQ_th:.2f}  of stuff {PQ_st:.2f}'.format(**figures))
