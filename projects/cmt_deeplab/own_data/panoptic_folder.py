"""What own data become, whatever layout they have: annotation files and folders of COCO panoptic.

This module imports neither torch nor mmdet.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PanopticSplit:
    """One split: the JSON, and the folders that its "file_name"s of images and of PNGs start from.

    Both splits may share their folders.
    """

    name: str  # as in the data, such as 'train2017'
    ann_file: Path
    img_dir: Path
    seg_dir: Path


@dataclass(frozen=True)
class PanopticFolder:
    """Data in the COCO panoptic format, for training, doctor and evaluation."""

    root: Path  # the folder that the user named
    train: PanopticSplit
    val: PanopticSplit | None  # None where no image is left for it
    # What to show to the user: a sentence on what was found, and one for each thing worth a word.
    notes: tuple[str, ...] = ()
