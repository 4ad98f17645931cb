"""Finding out how a folder of images and annotations is laid out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cmt_deeplab.errors import UserError

from .panoptic_folder import PanopticFolder, PanopticSplit


def open_data(
    path: str | Path,
    *,
    out: str | Path | None = None,
    stuff: str | Sequence[str] | None = None,
    ask: Callable[[Sequence[str]], Sequence[str]] | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    background: str = 'auto',
    layout: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PanopticFolder:
    """The data in the folder ``path`` as COCO panoptic data."""
    root = Path(path)
    splits = {}
    for name in ('train', 'val'):
        for file in sorted(root.glob(f'**/panoptic_{name}*.json')):
            split = file.stem.removeprefix('panoptic_')
            for base in (file.parent, file.parent.parent):
                if (base / split).is_dir() and file.with_suffix('').is_dir():
                    splits[name] = PanopticSplit(split, file, base / split, file.with_suffix(''))
    if 'train' not in splits:
        raise UserError(f'{root} has no layout that is known: see docs/own_data.md.')
    return PanopticFolder(
        root, splits['train'], splits.get('val'), (f'{root} holds COCO panoptic data.',)
    )
