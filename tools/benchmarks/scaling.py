"""Cost against the number of segments: the losses of a step, and the truth of an image.

The peer is the same work with ten segments.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cmt_deeplab.coco_format import colors_of_ids
from criterion import our_step
from harness import Subject
from mmdet.registry import TRANSFORMS
from PIL import Image

NUMBERS = (50, 150, 10)


def loading(number: int, place: Path, side: int = 640) -> Callable[[], Any]:
    """The function that reads the index plane of a PNG with blocks of ``number`` segments."""
    draw = np.random.default_rng(0)
    ids = draw.choice(1 << 24, number, replace=False)
    blocks = draw.permutation(np.arange(32 * 32) % number).reshape(32, 32)
    path = place / f'{number}.png'
    Image.fromarray(colors_of_ids(np.kron(ids[blocks], np.ones((side // 32,) * 2, int)))).save(path)
    segments = [dict(id=int(i), label=0, is_crowd=False, of_thing_class=True) for i in ids]
    item = dict(seg_map_path=str(path), segments_info=segments, img_shape=(side, side), img_id=0)
    load = TRANSFORMS.build(dict(type='LoadPanopticIndexMap'))
    return lambda: load(dict(item))


def subjects(args: argparse.Namespace) -> Iterator[Subject]:
    with tempfile.TemporaryDirectory() as place:
        works = dict(
            losses={number: our_step(number) for number in NUMBERS},
            truth={number: loading(number, Path(place)) for number in NUMBERS},
        )
        for what, steps in works.items():
            yield Subject(
                {f'{number} segments': lambda run, s=step: s for number, step in steps.items()},
                title=f'scaling, {what}',
            )
