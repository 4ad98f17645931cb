"""The checkpoint of a run that is worth using: its best one, or else its last."""

from pathlib import Path

from cmt_deeplab.errors import MissingFileError

BEST, LAST = 'best_*.pth', 'last_checkpoint'


def best_checkpoint(work_dir: str | Path) -> Path:
    """The newest best checkpoint in the folder of a run or, where none is kept, the last one.

    The folder may have been moved since: what ``last_checkpoint`` names is looked for in it.

    Raises:
        MissingFileError: there is none.
    """
    work_dir = Path(work_dir)
    best = sorted(work_dir.glob(BEST), key=lambda path: path.stat().st_mtime)
    last = work_dir / LAST
    if not best and last.is_file():
        best = [work_dir / Path(last.read_text(encoding='utf-8').strip()).name]
    if not best or not best[-1].is_file():
        raise MissingFileError(
            f'The folder {work_dir} has no checkpoint: give the work dir of a training, or a file.'
        )
    return best[-1]
