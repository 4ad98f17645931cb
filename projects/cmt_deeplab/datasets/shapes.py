"""Generated panoptic scenes: occluding shapes (things) on textured regions (stuff).

The ground truth is exact. A class is told by form alone, a thing by its outline and a stuff region
by its texture, because every color is drawn independently of the class. A scene depends on
(seed, split, number of the image) only, so a longer data set begins with the shorter one. How many
things there are, how large they are and how often they hide each other stands in a
:class:`ShapesPreset`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from cmt_deeplab.coco_format import NUM_IDS, VOID_ID
from cmt_deeplab.errors import UserError

from .shapes_canvas import Canvas, Drawn, ShapesPreset
from .shapes_nuclei import NucleiPreset

PRESETS = {
    'standard': ShapesPreset(),
    'quick': ShapesPreset(size=96, num_stuff=(2, 3), num_things=(2, 5), radius=(0.12, 0.25)),
    'nuclei': NucleiPreset(),
    'alike': NucleiPreset(size=128, num_things=(40, 150), radius=(0.02, 0.05)),
}


@dataclass(frozen=True)
class Scene:
    image: np.ndarray  # (H, W, 3) uint8, RGB
    ids: np.ndarray  # (H, W) int32 segment ids of the panoptic PNG, 0 void
    segments_info: list[dict]  # COCO panoptic: id, category_id, area, bbox, iscrowd
    things: list[Drawn]  # for statistics and tests, not part of the annotation


def scenes(preset: ShapesPreset, *, number: int, seed: int, split: int = 0) -> Iterator[Scene]:
    """Yield ``number`` scenes; scene i depends on (seed, split, i) only."""
    for i in range(number):
        yield make_scene(preset, np.random.default_rng([seed, split, i]))


def make_scene(preset: ShapesPreset, rng: np.random.Generator) -> Scene:
    """Draw one scene.

    Raises:
        UserError: things of the preset cannot be drawn at its size.
    """
    if preset.size < 32 or preset.size * preset.radius[0] < 2:
        raise UserError(
            f'size={preset.size} is too small for things of radius {preset.radius[0]} of the side; '
            'take a larger size.'
        )
    while True:
        canvas = preset.canvas(rng)
        if rng.random() < preset.crowd_probability:
            canvas.put_crowd()
        wanted = int(rng.integers(*preset.num_things, endpoint=True))
        # Stochastic rounding keeps the share.
        occluders = min(int(wanted * preset.occluded_share + rng.random()), wanted // 2)
        for _ in range(wanted - occluders):
            canvas.put_thing()
        for target in rng.permutation(canvas.things()):
            if occluders and canvas.put_thing(int(target)):
                occluders -= 1
        if len(canvas.things()) >= preset.num_things[0]:
            return _finish(canvas)


def _finish(canvas: Canvas) -> Scene:
    """Leave out void strips, give segment ids, and add noise to the image."""
    rng, preset, drawn = canvas.rng, canvas.preset, canvas.drawn
    bordered = np.flatnonzero(rng.random(len(drawn)) < preset.void_probability)
    labeled = np.where(_void_strips(canvas.owner, bordered, rng), -1, canvas.owner)
    segment_ids = rng.choice(NUM_IDS - 1, len(drawn), replace=False) + 1
    for record, segment_id, visible in zip(drawn, segment_ids.tolist(), canvas.visible().tolist()):
        record.segment_id, record.visible = segment_id, visible
    noise = preset.noise * rng.standard_normal(canvas.image.shape, dtype=np.float32)
    return Scene(
        image=(canvas.image + noise).clip(0, 255).astype(np.uint8),
        ids=np.append(segment_ids, VOID_ID).astype(np.int32)[labeled],  # -1 is the last entry
        segments_info=_segments_info(canvas, labeled),
        things=[drawn[k] for k in canvas.things()],
    )


def _segments_info(canvas: Canvas, labeled: np.ndarray) -> list[dict]:
    drawn = canvas.drawn
    category_ids = {category['name']: category['id'] for category in canvas.preset.categories}
    masks = [(labeled == k).view(np.uint8) for k in range(len(drawn))]
    return [
        dict(
            id=record.segment_id,
            category_id=category_ids[record.name],
            area=cv2.countNonZero(mask),
            iscrowd=int(record.is_crowd),
            bbox=list(cv2.boundingRect(mask)),
        )
        for record, mask in zip(drawn, masks)
        if mask.any()  # a crowd can vanish under things
    ]


def _void_strips(
    owner: np.ndarray, segments: Iterable[int], rng: np.random.Generator
) -> np.ndarray:
    """Strips of one or two pixels along the border of some segments, (H, W) bool.

    Annotators leave such pixels out.
    """
    strip = np.zeros(owner.shape, bool)
    for k in segments:
        mine = owner == k
        horizontal, vertical = mine[:, 1:] != mine[:, :-1], mine[1:] != mine[:-1]
        strip[:, 1:] |= horizontal
        strip[1:] |= vertical
        if rng.random() < 0.5:
            strip[:, :-1] |= horizontal
            strip[:-1] |= vertical
    return strip
