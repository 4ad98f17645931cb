"""Panoptic scenes made of numbers: occluding shapes (things) on textured regions (stuff), with exact ground truth.

A class is told by form alone - a thing by its outline, a stuff region by its texture - because every color is drawn independently of
the class. A scene depends on (seed, split, number of the image) only, so a longer data set begins with the shorter one. How often things
hide each other, how large they are and how many there are stands in a :class:`ShapesPreset`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cmt_deeplab.errors import UserError

from .shape_forms import CATEGORY_IDS, STUFF_CLASSES, THING_CLASSES, shape_mask, texture

OCCLUDED = 0.1  # a thing counts as occluded from this hidden share on
MAX_HIDDEN = 0.55  # and is never hidden further than this
MIN_STUFF_SHARE = 0.06  # of the image that every stuff region shows at least


@dataclass(frozen=True)
class ShapesPreset:
    """How a scene is drawn; ``radius`` is the circumscribed radius of a thing as a share of the side."""

    size: int = 128
    num_stuff: tuple[int, int] = (2, 4)
    num_things: tuple[int, int] = (3, 8)
    radius: tuple[float, float] = (0.05, 0.20)
    occluded_share: float = 1 / 3  # of the things hidden by another by 10 % or more
    crowd_probability: float = 0.15  # images with one crowd of small things of a class
    void_probability: float = 0.3  # of a segment to have an unlabeled strip along its border
    noise: float = 5.0  # standard deviation of the pixel noise, gray levels


PRESETS: dict[str, ShapesPreset] = {
    'standard': ShapesPreset(),
    'quick': ShapesPreset(size=96, num_stuff=(2, 3), num_things=(2, 5), radius=(0.12, 0.25)),
}


@dataclass(frozen=True)
class Thing:
    """What was drawn: for statistics and tests, not part of the annotation."""

    segment_id: int
    shape: str
    radius: float  # pixels
    hidden: float  # share of its pixels inside the image that other things cover
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    image: np.ndarray  # (H, W, 3) uint8, RGB
    ids: np.ndarray  # (H, W) int32 segment ids of the panoptic PNG, 0 void
    segments_info: list[dict]  # COCO panoptic: id, category_id, area, bbox, iscrowd
    things: list[Thing]


def _far_color(rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """One of eight random colors, the one farthest from ``others``: independent of any class, visible beside them."""
    candidates = rng.uniform(15, 240, (8, 3))
    distance = np.linalg.norm(candidates[:, None] - np.reshape(others, (1, -1, 3)), axis=-1).min(1)
    return candidates[distance.argmax()]


def _regions(side: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Cut the plane into ``count`` parts with wavy borders, (side, side) int: Voronoi cells of a bent plane."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    bend, frequency = rng.uniform(0.02, 0.05), rng.uniform(1.5, 3, 2) * 2 * np.pi
    phase = rng.uniform(0, 2 * np.pi, 2)
    xx, yy = (
        x + bend * np.sin(frequency[0] * y + phase[0]),
        y + bend * np.sin(frequency[1] * x + phase[1]),
    )
    while True:
        sites = rng.random((count, 2), dtype=np.float32)
        region = ((xx - sites[:, 0, None, None]) ** 2 + (yy - sites[:, 1, None, None]) ** 2).argmin(
            0
        )
        if np.bincount(region.ravel(), minlength=count).min() >= 0.16 * side * side:
            return region


class _Canvas:
    """Image, owner plane (stuff k >= 0 first, then crowd and things in the order drawn) and what each thing measured when drawn."""

    def __init__(self, preset: ShapesPreset, rng: np.random.Generator) -> None:
        self.preset, self.rng, side = preset, rng, preset.size
        count = int(rng.integers(preset.num_stuff[0], preset.num_stuff[1] + 1))
        self.owner = _regions(side, count, rng)
        self.classes: list[str] = [
            STUFF_CLASSES[i] for i in rng.choice(len(STUFF_CLASSES), count, replace=False)
        ]
        self.num_stuff = count
        self.image = np.zeros((side, side, 3), np.float32)
        self.colors: list[np.ndarray] = []  # per owner, its mean color
        for k, name in enumerate(self.classes):
            first = _far_color(rng, self.colors or [rng.uniform(15, 240, 3)])
            second = _far_color(rng, [first])
            blend, mine = texture(name, side, rng), self.owner == k
            self.image[mine] = first.astype(np.float32) + blend[mine, None] * (
                second - first
            ).astype(np.float32)
            self.colors.append((first + second) / 2)
        self.crowds: list[int] = []
        self.area: dict[int, int] = {}  # of each thing inside the image, when drawn
        self.radius: dict[int, float] = {}
        self.rgb: dict[int, np.ndarray] = {}

    def window(
        self, mask: np.ndarray, center: tuple[int, int]
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """The part of the plane under ``mask`` put at ``center`` (y, x), and the part of the mask inside the image."""
        r, side = mask.shape[0] // 2, self.preset.size
        (y, x), out = center, []
        for c in (y, x):
            out.append((max(c - r, 0), min(c + r + 1, side), max(r - c, 0)))
        (y0, y1, my), (x0, x1, mx) = out
        return (slice(y0, y1), slice(x0, x1)), mask[my : my + y1 - y0, mx : mx + x1 - x0]

    def visible(self) -> np.ndarray:
        return np.bincount(self.owner.ravel(), minlength=len(self.classes))

    def hidden_by(self, place, inside) -> dict[int, float]:
        """Share of each thing already drawn that is hidden once this mask lies on top, only of those that it would touch."""
        now, covered = (
            self.visible(),
            np.bincount(self.owner[place][inside], minlength=len(self.classes)),
        )
        return {k: 1 - (now[k] - covered[k]) / self.area[k] for k in self.area if covered[k]}

    def leaves_stuff(self, place, inside) -> bool:
        left = self.visible() - np.bincount(self.owner[place][inside], minlength=len(self.classes))
        return left[: self.num_stuff].min() >= MIN_STUFF_SHARE * self.owner.size

    def paint(self, place, inside, name: str, radius: float) -> int:
        k = len(self.classes)
        under = np.unique(self.owner[place][inside])
        color = _far_color(self.rng, [self.colors[i] for i in under])
        self.owner[place][inside] = k
        shading = self.rng.uniform(-12, 12)
        rows = np.linspace(-1, 1, inside.shape[0], dtype=np.float32)[:, None, None]
        np.copyto(
            self.image[place],
            color.astype(np.float32) + np.float32(shading) * rows,
            where=inside[..., None],
        )
        self.classes.append(name)
        self.colors.append(color)
        self.area[k], self.radius[k], self.rgb[k] = int(inside.sum()), radius, color
        return k

    def center(self, radius: float) -> tuple[int, int]:
        y, x = (
            self.rng.uniform(0.7 * radius, self.preset.size - 1 - 0.7 * radius, 2)
            .round()
            .astype(int)
        )
        return int(y), int(x)

    def put_thing(self, target: int = -1) -> bool:
        """Draw one more thing: over ``target`` so that it becomes occluded, or (-1) so that nobody does. False if no place was found."""
        rng, side, (low, high) = self.rng, self.preset.size, self.preset.radius
        name = THING_CLASSES[rng.integers(len(THING_CLASSES))]
        for attempt in range(40):
            # Crowded scenes take what still fits: after 15 vain attempts the upper end of the radius comes down.
            radius = side * rng.uniform(low, high if attempt < 15 else low + 0.4 * (high - low))
            mask = shape_mask(name, radius, rng.uniform(0, 2 * np.pi))
            if target < 0:
                center = self.center(radius)
            else:
                rows, columns = np.nonzero(self.owner == target)
                pick, angle = rng.integers(len(rows)), rng.uniform(0, 2 * np.pi)
                reach = 0.8 * radius
                center = (
                    int(
                        np.clip(
                            rows[pick] + reach * np.sin(angle),
                            0.7 * radius,
                            side - 1 - 0.7 * radius,
                        )
                    ),
                    int(
                        np.clip(
                            columns[pick] + reach * np.cos(angle),
                            0.7 * radius,
                            side - 1 - 0.7 * radius,
                        )
                    ),
                )
            place, inside = self.window(mask, center)
            hidden = self.hidden_by(place, inside)
            others_fine = all(h < 0.8 * OCCLUDED for k, h in hidden.items() if k != target)
            target_fine = target < 0 or 1.2 * OCCLUDED <= hidden.get(target, 0) <= MAX_HIDDEN
            if others_fine and target_fine and self.leaves_stuff(place, inside):
                self.paint(place, inside, name, radius)
                return True
        return False

    def put_crowd(self) -> None:
        """A huddle of small things of one class, annotated as one crowd."""
        rng, side = self.rng, self.preset.size
        name, radius = THING_CLASSES[rng.integers(len(THING_CLASSES))], max(2.5, 0.035 * side)
        middle = rng.uniform(0.2 * side, 0.8 * side, 2)
        huddle = np.zeros((side, side), bool)
        for _ in range(rng.integers(5, 9)):
            y, x = np.clip(middle + rng.normal(0, 0.08 * side, 2), 0, side - 1).round().astype(int)
            place, inside = self.window(
                shape_mask(name, radius, rng.uniform(0, 2 * np.pi)), (int(y), int(x))
            )
            huddle[place] |= inside
        everywhere = (slice(None), slice(None))
        if self.leaves_stuff(everywhere, huddle):
            k = self.paint(everywhere, huddle, name, radius)
            del (
                self.area[k],
                self.radius[k],
            )  # a crowd is no thing: nobody counts how much of it is hidden
            self.crowds.append(k)


def _void_strips(
    owner: np.ndarray, segments: Sequence[int], rng: np.random.Generator
) -> np.ndarray:
    """Strips of one pixel on either side of the border of some segments, (H, W) bool: what annotators leave out."""
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


def make_scene(preset: ShapesPreset, rng: np.random.Generator) -> Scene:
    """Draw one scene.

    Raises:
        ValueError: if the preset asks for more stuff regions than there are classes or for things that cannot be drawn.
    """
    if preset.num_stuff[1] > len(STUFF_CLASSES):
        raise UserError(
            f'num_stuff={preset.num_stuff} asks for more regions than there are stuff classes ({len(STUFF_CLASSES)}).'
        )
    if preset.size < 32 or preset.size * preset.radius[0] < 2:
        raise UserError(
            f'size={preset.size} is too small for things of radius {preset.radius[0]} of the side; take a larger size.'
        )
    while True:
        canvas = _Canvas(preset, rng)
        if rng.random() < preset.crowd_probability:
            canvas.put_crowd()
        wanted = int(rng.integers(preset.num_things[0], preset.num_things[1] + 1))
        occluders = min(
            int(wanted * preset.occluded_share + rng.random()), wanted // 2
        )  # stochastic rounding keeps the share
        placed = sum(canvas.put_thing() for _ in range(wanted - occluders))
        free = list(rng.permutation(list(canvas.area)))
        for target in free:
            if occluders == 0:
                break
            if canvas.put_thing(target):
                occluders, placed = occluders - 1, placed + 1
        if placed >= preset.num_things[0]:
            return _finish(canvas)


def _finish(canvas: _Canvas) -> Scene:
    rng, side, owner = canvas.rng, canvas.preset.size, canvas.owner
    hidden = {
        k: 1 - share / canvas.area[k]
        for k, share in enumerate(canvas.visible())
        if k in canvas.area
    }
    bordered = [
        k for k in range(len(canvas.classes)) if rng.random() < canvas.preset.void_probability
    ]
    labeled = np.where(_void_strips(owner, bordered, rng), -1, owner)
    segment_ids = rng.choice(2**24 - 1, len(canvas.classes), replace=False) + 1
    lut = np.append(segment_ids, 0).astype(np.int32)  # index -1 is the last entry: void
    segments = []
    for k, name in enumerate(canvas.classes):
        rows, columns = np.nonzero(labeled == k)
        if len(rows) == 0:  # a crowd can vanish under things
            continue
        x0, y0 = int(columns.min()), int(rows.min())
        segments.append(
            dict(
                id=int(segment_ids[k]),
                category_id=CATEGORY_IDS[name],
                area=len(rows),
                iscrowd=int(k in canvas.crowds),
                bbox=[x0, y0, int(columns.max()) - x0 + 1, int(rows.max()) - y0 + 1],
            )
        )
    image = canvas.image + canvas.preset.noise * rng.standard_normal(
        (side, side, 3), dtype=np.float32
    )
    things = [
        Thing(
            segment_id=int(segment_ids[k]),
            shape=canvas.classes[k],
            radius=canvas.radius[k],
            hidden=float(hidden[k]),
            color=tuple(int(c) for c in canvas.rgb[k]),
        )
        for k in canvas.area
    ]
    return Scene(
        image=image.clip(0, 255).astype(np.uint8),
        ids=lut[labeled],
        segments_info=segments,
        things=things,
    )


def scenes(preset: ShapesPreset, *, number: int, seed: int, split: int = 0) -> Iterator[Scene]:
    """Yield ``number`` scenes; scene i depends on (seed, split, i) only."""
    for i in range(number):
        yield make_scene(preset, np.random.default_rng([seed, split, i]))
