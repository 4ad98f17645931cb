"""Checkpoints of which none is lost, at whatever moment a run is killed.

Each is written whole (see :mod:`cmt_deeplab.whole_file`), ``last_checkpoint`` follows, and only
then is an older checkpoint removed. So the disk holds one more than ``max_keep_ckpts`` for a
moment.
"""

import logging
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint

from cmt_deeplab.checkpoints.recipe import add_recipe
from cmt_deeplab.datasets.dataset_check import innermost
from cmt_deeplab.engine.distributed import from_first_process
from cmt_deeplab.errors import make_folder_of
from cmt_deeplab.whole_file import PART, whole_file

MID_EPOCH = 'iter_{}.pth'  # what a hook that counts epochs saves within one
NEWEST = 'last_checkpoint'  # in the work dir, with the path of the newest checkpoint


def _pattern(template: str) -> str:
    """A pattern of the names that a template such as 'iter_{}.pth' gives."""
    return ''.join(
        re.escape(text) + r'(?P<number>\d+)' * (field is not None)
        for text, field, *_ in Formatter().parse(template)
    )


def _matching(folder: str, template: str, before: str, after: str) -> dict[Path, int]:
    """The files in a folder whose names a template gives, and their numbers."""
    head, name = os.path.split(_pattern(template))
    pattern = re.compile(os.path.join(head, before + name + after))
    paths = Path(folder).glob('/'.join('*' * len(Path(template).parts)))
    found = {path: pattern.fullmatch(path.relative_to(folder).as_posix()) for path in paths}
    return {
        path: int(match.groupdict().get('number', 0))
        for path, match in found.items()
        if match and path.is_file()
    }


def _remove_file(remove: Callable[[], None], path: str | Path) -> None:
    """Remove a file; a training does not end because that is impossible."""
    try:
        remove()
    except OSError as error:
        told = f'{path} cannot be removed ({error.strerror}): remove it by hand.'
        print_log(told, 'current', logging.WARNING)


@HOOKS.register_module(name=['PanopticCheckpointHook', 'CheckpointHook'])
class PanopticCheckpointHook(CheckpointHook):
    """mmengine's hook, which removes an older checkpoint only after the new one is whole.

    It has the same arguments, and takes the place of mmengine's own in the scope of mmdet. It
    removes only files of its run, in the folder of the run: a path that a checkpoint holds counts
    for nothing, and a run that goes on from a checkpoint of another folder removes nothing there.
    """

    _saved_at: int | None = None  # the iterations in the newest checkpoint of this process

    def folder(self, work_dir: str) -> str:
        """Where a run in ``work_dir`` is going to put its checkpoints; then that is ``out_dir``."""
        if self.out_dir in (None, work_dir):
            return work_dir
        return os.path.join(self.out_dir, os.path.basename(work_dir))  # as mmengine

    def checkpoints(
        self, folder: str, *, before: str = '', after: str = ''
    ) -> dict[Path, tuple[int, int]]:
        """The files in a folder with names of this hook, and their numbers; the newest last.

        A number within an epoch follows that of the last epoch which was there when it was saved.
        ``before`` and ``after`` are patterns of what stands before and behind such a name.
        """
        ended = _matching(folder, self.filename_tmpl, before, after)
        numbers = {path: (number, 0) for path, number in ended.items()}
        within = _matching(folder, MID_EPOCH, before, after) if self.by_epoch else {}
        for path, iteration in within.items():
            written = path.stat().st_mtime
            epochs = [epoch for each, epoch in ended.items() if each.stat().st_mtime <= written]
            numbers[path] = max(epochs, default=0), iteration
        return dict(sorted(numbers.items(), key=lambda item: item[1]))

    def before_train(self, runner: Any) -> None:
        """As in mmengine, but of what a resumed checkpoint tells no path counts.

        Its numbers and names count where it lies in the folder of this run.

        Raises:
            UserError: that folder cannot be written to.
        """
        limit, figures = self.max_keep_ckpts, self.save_best
        self.max_keep_ckpts, self.save_best = -1, None
        super().before_train(runner)  # finds the folder
        self.max_keep_ckpts, self.save_best = limit, figures
        at = runner.epoch if self.by_epoch else runner.iter
        resumed = None
        if runner._resume:  # mmengine's own runner does not keep the name of the newest
            resumed = runner._load_from or find_latest_checkpoint(runner.work_dir)
        folder = os.path.dirname(self.filename_tmpl.partition('{')[0])
        if '://' not in self.out_dir:
            path = os.path.join(self.out_dir, folder, NEWEST)
            from_first_process(partial(make_folder_of, path))
        depth = len(Path(self.filename_tmpl).parts)
        folders = Path(resumed).resolve().parents[:depth] if resumed else ()
        goes_on = Path(self.out_dir).resolve() in folders
        told = runner.message_hub.runtime_info if goes_on else {}
        numbers = told.get('keep_ckpt_ids')
        numbers = {n for n in numbers if type(n) is int} if isinstance(numbers, list) else ()
        self.keep_ckpt_ids = sorted(n for n in numbers if n <= at)
        if figures:
            self._set_bests(*(self._own_best(key, told) for key in self.key_indicators))
        present = self.checkpoints(self.out_dir)
        later = [path for path, (number, _) in present.items() if number > at]
        if later:
            runner.logger.warning(
                f'{later[-1]} is later than the start of this run, whose checkpoints take the '
                'place of those with equal numbers.'
            )
        self._remove_old()
        if is_main_process():  # a run that was killed while it wrote
            parts = self.checkpoints(self.out_dir, before='(best_.+_)?', after=rf'\.\w+{PART}')
            for part in (*parts, *Path(runner.work_dir).glob(f'{NEWEST}.*{PART}')):
                _remove_file(part.unlink, part)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Add the model and the test pipeline, so that inference needs the checkpoint alone."""
        add_recipe(checkpoint['meta'], runner.cfg, innermost(runner.train_dataloader.dataset))

    def save_now(self, runner: Any, *, iterations: int) -> str:
        """Save a checkpoint of ``iterations`` finished iterations, unless that is the newest one.

        All processes call it together, between two iterations. A hook that counts epochs calls it
        iter_N.pth.

        Returns:
            The path of the checkpoint.
        """
        if self._saved_at != iterations:
            meta = dict(epoch=runner.epoch, iter=iterations)
            if self.by_epoch:
                self._save(runner, MID_EPOCH.format(iterations), meta)
            else:
                self._save_checkpoint_with_step(runner, iterations, meta)
        return self.last_ckpt

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        """As in mmengine, which removes the oldest checkpoint first."""
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = [*(n for n in self.keep_ckpt_ids if n != step), step]
            runner.message_hub.update_info('keep_ckpt_ids', [*self.keep_ckpt_ids])
        self._save(runner, self.filename_tmpl.format(step), meta)
        self._remove_old()

    def _save(self, runner: Any, name: str, meta: dict) -> None:
        """Write a checkpoint, and then ``last_checkpoint``."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        from_first_process(lambda: self._name_newest(Path(runner.work_dir, NEWEST)))
        self._saved_at = meta['iter']

    def _name_newest(self, path: Path) -> None:
        with whole_file(path) as part:
            part.write_text(self.last_ckpt)

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        """As in mmengine, which removes the best checkpoint so far before the better one is there.

        That is why it is not told of it.
        """
        if self.save_best and hasattr(self, 'file_backend'):  # or nothing is trained
            old = self._bests()
            self._set_bests(*[None] * len(old))
            super()._save_best_checkpoint(runner, metrics)
            self._set_bests(*(new or before for new, before in zip(self._bests(), old)))
            for path in old:
                self._remove(path)

    def _bests(self) -> list[str | None]:
        """The path of the best checkpoint by each figure of ``save_best``."""
        if len(self.key_indicators) == 1:
            return [self.best_ckpt_path]
        return [self.best_ckpt_path_dict[key] for key in self.key_indicators]

    def _set_bests(self, *paths: str | None) -> None:
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = paths
        else:
            self.best_ckpt_path_dict = dict(zip(self.key_indicators, paths))

    def _own_best(self, key: str, told: dict) -> str | None:
        """Where the best checkpoint lies of which a checkpoint in the folder of this run tells."""
        path = told.get('best_ckpt' if len(self.key_indicators) == 1 else f'best_ckpt_{key}')
        name = os.path.basename(path) if isinstance(path, str) else ''
        figure = '.+' if key == 'auto' else re.escape(key)
        own = f'best_{figure}_{_pattern(self.filename_tmpl)}'.replace('/', '_')
        return self.file_backend.join_path(self.out_dir, name) if re.fullmatch(own, name) else None

    def _remove_old(self) -> None:
        """Leave ``max_keep_ckpts`` of the checkpoints that this run has written."""
        while len(self.keep_ckpt_ids) > self.max_keep_ckpts > 0:
            name = self.filename_tmpl.format(self.keep_ckpt_ids.pop(0))
            self._remove(self.file_backend.join_path(self.out_dir, name))

    def _remove(self, path: str | None) -> None:
        """Remove a checkpoint, unless it is one that is kept, whose name may have no number."""
        names = map(self.filename_tmpl.format, self.keep_ckpt_ids)
        kept = [self.file_backend.join_path(self.out_dir, name) for name in names]
        if self.save_best:
            kept += self._bests()
        if path and path not in kept and is_main_process() and self.file_backend.isfile(path):
            _remove_file(partial(self.file_backend.remove, path), path)

    @master_only
    def _publish_model(self, runner: Any, ckpt_path: str | None) -> None:
        """As in mmengine, but nothing where there is no best checkpoint yet."""
        if ckpt_path and self.file_backend.isfile(ckpt_path):
            super()._publish_model(runner, ckpt_path)
