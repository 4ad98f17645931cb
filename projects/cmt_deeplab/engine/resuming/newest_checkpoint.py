"""Which checkpoints lie in a work dir, and which of them a run goes on from."""

import os
from collections.abc import Sequence
from logging import Logger
from pathlib import Path

from mmengine.runner.checkpoint import CheckpointLoader

from cmt_deeplab.engine.checkpoint_hook import NEWEST, PanopticCheckpointHook
from cmt_deeplab.errors import MissingFileError, UserError


def refuse_second_training(
    work_dir: str, hooks: Sequence[PanopticCheckpointHook], start: str | None
) -> None:
    """Raise a :class:`UserError` where a work dir holds checkpoints of another training.

    ``start`` is the checkpoint that the training resumes from, if any.
    """
    folders = [hook.folder(work_dir) for hook in hooks]
    if start and any(_lies_in(folder, start) for folder in [work_dir, *folders]):
        return
    found = [
        path
        for hook, folder in zip(hooks, folders)
        for path in hook.checkpoints(folder, before='(best_.+_)?')
    ]
    named = _named(work_dir)
    if hooks and os.path.isfile(named) and _lies_in(work_dir, named):
        found.append(Path(named))
    if found:
        raise UserError(
            f'{work_dir} holds {found[-1].name} of an earlier training, and this one would write '
            'over such files: go on from it with --resume alone (resume=True, load_from=None), or '
            'set another --work-dir (work_dir) and, to begin with its weights, load_from.'
        )


def newest_checkpoint(
    work_dir: str, hooks: Sequence[PanopticCheckpointHook], logger: Logger
) -> str | None:
    """The newest checkpoint of a work dir that can be loaded, or None where there is no checkpoint.

    That is the one that ``last_checkpoint`` names, or a later one that a run had finished when it
    was killed. Where these are missing or broken, it is the one before, and so on.

    Raises:
        MissingFileError: the named file does not exist, and there is no other.
        UserError: none can be loaded.
    """
    named, pointer = _named(work_dir), Path(work_dir, NEWEST)
    if '://' in named:  # mmengine fetches it
        return named
    names = {
        path: path.relative_to(folder).parts
        for hook, folder in [(hook, hook.folder(work_dir)) for hook in hooks]
        for path in hook.checkpoints(folder)
    }
    found = [*names]
    candidates = found[::-1]
    if named:
        here = [path for path in found if Path(named).parts[-len(names[path]) :] == names[path]]
        first, place = (here[0], found.index(here[0])) if here else (Path(named), len(found))
        written = pointer.stat().st_mtime_ns
        later = [path for path in found[place + 1 :] if path.stat().st_mtime_ns >= written]
        candidates = [*later[::-1], first, *found[:place][::-1], *candidates]
    faults = []
    for path in dict.fromkeys(candidates):
        fault = _fault(path)
        if fault is None:
            break
        faults.append(fault)
    else:
        if not faults:
            return None
        raise (UserError if found else MissingFileError)(
            f'{faults[0]}, and {work_dir} has no other that is whole: resume another one with '
            '--resume CHECKPOINT (load_from), or start afresh in another --work-dir.'
        )
    reason = faults[0] if faults else None
    if not named:
        reason = reason or f'{pointer} names no checkpoint'
    elif path not in found and not _lies_in(work_dir, path):
        reason = f'{pointer} names a file of another folder'
    if reason:
        logger.warning(f'{reason}: this run goes on from {path}, the newest that is whole.')
    return str(path)


def _named(work_dir: str) -> str:
    """The path in ``last_checkpoint``, or '' where there is none."""
    pointer = Path(work_dir, NEWEST)
    return pointer.read_text(errors='replace').strip() if pointer.is_file() else ''


def _lies_in(folder: str, path: str | Path) -> bool:
    return Path(path).resolve().is_relative_to(Path(folder).resolve())


def _fault(path: Path) -> str | None:
    """Why a checkpoint cannot be loaded, without a full stop; None where it can."""
    if not os.path.isfile(path):
        return f'{NEWEST} names {path}, which does not exist'
    try:
        CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    except UserError as error:
        return str(error).removesuffix('.')
    return None
