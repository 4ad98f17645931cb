"""The numbers a run has logged, read back from MMEngine's ``vis_data/scalars.json``."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from cmt_deeplab.errors import MissingFileError, UserError


@dataclass
class RunHistory:
    """Scalars over iterations: ``train['loss']`` is a list of (iteration, value); ``val['PQ']`` likewise, metric prefixes cut off."""

    train: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    val: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def read_scalars(path: str | Path) -> RunHistory:
    """Reads the scalars that ``LocalVisBackend`` wrote, one JSON object a line.

    A line that a killed run left unfinished is skipped. Raises ``FileNotFoundError`` when there is no file and ``ValueError`` when it holds
    no scalars.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(
            f'{path} does not exist: give the vis_data/scalars.json of a finished run (its work directory has one).'
        )
    history = RunHistory()
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or 'step' not in row:
            continue
        step = int(row['step'])
        is_training = 'iter' in row or 'lr' in row
        table = history.train if is_training else history.val
        for key, value in row.items():
            if (
                key in ('step', 'iter', 'epoch')
                or isinstance(value, bool)
                or not isinstance(value, (int, float))
            ):
                continue
            table.setdefault(key if is_training else key.rsplit('/', 1)[-1], []).append(
                (step, float(value))
            )
    if not history.train and not history.val:
        raise UserError(
            f'{path} holds no scalars: it should have one JSON object with a "step" a line.'
        )
    return history
