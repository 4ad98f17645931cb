"""The canvas of a generated scene: which regions and shapes were drawn, and where the next fits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .shape_forms import CATEGORIES, STUFF_CLASSES, THING_CLASSES, shape_mask, texture

OCCLUDED = 0.1  # a thing counts as occluded from this hidden share on
MAX_HIDDEN = 0.55  # the largest hidden share of a thing
MIN_STUFF_SHARE = 0.06  # of the image that every stuff region shows at least
ATTEMPTS = 40  # to place one thing
FREE_ATTEMPTS = 15  # after these, the largest radius comes down, so that crowded scenes fill up


@dataclass(frozen=True)
class ShapesPreset:
    """How a scene is drawn.

    ``radius`` is the circumscribed radius of a thing as a share of the side of the image.
    """

    size: int = 128
    num_stuff: tuple[int, int] = (2, 4)
    num_things: tuple[int, int] = (3, 8)
    radius: tuple[float, float] = (0.05, 0.20)
    occluded_share: float = 1 / 3  # of the things, of which another hides 10 % or more
    crowd_probability: float = 0.15  # of an image to have a crowd of small things of one class
    void_probability: float = 0.3  # of a segment to have an unlabeled strip along its border
    noise: float = 5.0  # standard deviation of the pixel noise, gray levels

    @property
    def categories(self) -> list[dict]:
        """Those of the annotation file."""
        return CATEGORIES

    def canvas(self, rng: np.random.Generator) -> 'Canvas':
        return Canvas(self, rng)


@dataclass
class Drawn:
    """A stuff region, a crowd or a thing; ``area`` and ``radius`` are 0 unless it is a thing."""

    name: str
    color: np.ndarray  # mean color
    radius: float = 0.0  # pixels
    area: int = 0  # pixels inside the image when it was drawn
    is_crowd: bool = False
    segment_id: int = 0
    visible: int = 0  # pixels that nothing covers in the end


class Canvas:
    """An image (side, side, 3) float32 and the plane ``owner`` (side, side) of indices.

    An index k stands for ``drawn[k]``: stuff comes first, then crowd and things as drawn.
    """

    def __init__(self, preset: ShapesPreset, rng: np.random.Generator) -> None:
        self.preset, self.rng, self.side = preset, rng, preset.size
        self.num_stuff = int(rng.integers(*preset.num_stuff, endpoint=True))
        self.owner = _regions(self.side, self.num_stuff, rng)
        self.image = np.zeros((self.side, self.side, 3), np.float32)
        self.drawn: list[Drawn] = []
        for k, name in enumerate(rng.choice(STUFF_CLASSES, self.num_stuff, replace=False)):
            others = [region.color for region in self.drawn] or [rng.uniform(15, 240, 3)]
            first = _far_color(rng, others)
            second = _far_color(rng, [first])
            mine, blend = self.owner == k, texture(name, self.side, rng)
            difference = (second - first).astype(np.float32)
            self.image[mine] = first.astype(np.float32) + blend[mine, None] * difference
            self.drawn.append(Drawn(name, (first + second) / 2))

    def things(self) -> list[int]:
        return [k for k, drawn in enumerate(self.drawn) if drawn.area]

    def visible(self) -> np.ndarray:
        """The pixels of each index."""
        return np.bincount(self.owner.ravel(), minlength=len(self.drawn))

    def put_thing(self, target: int | None = None) -> bool:
        """Draw one more thing, and return whether a place was found.

        It occludes the thing ``target``, or nothing where that is None.
        """
        rng, (low, high) = self.rng, self.preset.radius
        name = rng.choice(THING_CLASSES)
        for attempt in range(ATTEMPTS):
            largest = high if attempt < FREE_ATTEMPTS else low + 0.4 * (high - low)
            radius = self.side * rng.uniform(low, largest)
            outline = shape_mask(name, radius, rng.uniform(0, 2 * np.pi))
            mask, rows = self._stamp(outline, self._center(radius, target))
            if self._may_cover(mask, target):
                self._paint(mask, rows, name, radius=radius, area=int(mask.sum()))
                return True
        return False

    def put_crowd(self) -> None:
        """Draw small things of one class close to each other, annotated as one crowd."""
        rng, side = self.rng, self.side
        name, radius = rng.choice(THING_CLASSES), max(2.5, 0.035 * side)
        middle = rng.uniform(0.2 * side, 0.8 * side, 2)
        mask = np.zeros((side, side), bool)
        for _ in range(rng.integers(5, 9)):
            center = np.clip(middle + rng.normal(0, 0.08 * side, 2), 0, side - 1).round()
            outline = shape_mask(name, radius, rng.uniform(0, 2 * np.pi))
            mask |= self._stamp(outline, center.astype(int))[0]
        if self._may_cover(mask, None):
            self._paint(mask, slice(None), name, is_crowd=True)

    def _center(self, radius: float, target: int | None) -> np.ndarray:
        """Where to put a thing, (y, x): anywhere, or beside a pixel of the target."""
        rng, margin = self.rng, 0.7 * radius
        if target is None:
            return rng.uniform(margin, self.side - 1 - margin, 2).round().astype(int)
        pixels = np.argwhere(self.owner == target)
        pixel, angle = pixels[rng.integers(len(pixels))], rng.uniform(0, 2 * np.pi)
        center = pixel + 0.8 * radius * np.array([np.sin(angle), np.cos(angle)])
        return np.clip(center, margin, self.side - 1 - margin).astype(int)

    def _stamp(self, outline: np.ndarray, center: np.ndarray) -> tuple[np.ndarray, slice]:
        """The outline put at ``center`` on an empty plane, and the rows that it reaches."""
        corner = center - len(outline) // 2
        start = np.maximum(corner, 0)
        stop = np.minimum(corner + len(outline), self.side)
        rows, columns = map(slice, start, stop)
        mask = np.zeros((self.side, self.side), bool)
        mask[rows, columns] = outline[tuple(map(slice, start - corner, stop - corner))]
        return mask, rows

    def _may_cover(self, mask: np.ndarray, target: int | None) -> bool:
        """Whether enough of all stuff stays visible and no thing but the target is occluded."""
        covered = np.bincount(self.owner[mask], minlength=len(self.drawn))
        left = self.visible() - covered
        if left[: self.num_stuff].min() < MIN_STUFF_SHARE * self.owner.size:
            return False
        hidden = {k: 1 - left[k] / self.drawn[k].area for k in self.things() if covered[k]}
        of_target = hidden.pop(target, 0)
        if target is not None and not 1.2 * OCCLUDED <= of_target <= MAX_HIDDEN:
            return False
        return all(share < 0.8 * OCCLUDED for share in hidden.values())

    def _paint(self, mask: np.ndarray, rows: slice, name: str, **measures) -> None:
        color = _far_color(self.rng, [self.drawn[k].color for k in np.unique(self.owner[mask])])
        self.owner[mask] = len(self.drawn)
        shading, part = np.float32(self.rng.uniform(-12, 12)), self.image[rows]
        ramp = np.linspace(-1, 1, len(part), dtype=np.float32)[:, None, None]
        np.copyto(part, color.astype(np.float32) + shading * ramp, where=mask[rows, :, None])
        self.drawn.append(Drawn(name, color, **measures))


def _far_color(rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Of eight random colors the one that is farthest from ``others``.

    It does not depend on the class, and is visible beside the others.
    """
    candidates = rng.uniform(15, 240, (8, 3))
    distance = np.linalg.norm(candidates[:, None] - others, axis=-1)
    return candidates[distance.min(1).argmax()]


def _regions(side: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Cut the plane into ``count`` parts with wavy borders, (side, side) int.

    The parts are the Voronoi cells of a bent plane; each has at least 16 % of the pixels.
    """
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    bend, frequency = rng.uniform(0.02, 0.05), rng.uniform(1.5, 3, 2) * 2 * np.pi
    phase = rng.uniform(0, 2 * np.pi, 2)
    xx = x + bend * np.sin(frequency[0] * y + phase[0])
    yy = y + bend * np.sin(frequency[1] * x + phase[1])
    while True:
        sites = rng.random((count, 2), dtype=np.float32)[:, :, None, None]
        region = ((xx - sites[:, 0]) ** 2 + (yy - sites[:, 1]) ** 2).argmin(0)
        if np.bincount(region.ravel(), minlength=count).min() >= 0.16 * side * side:
            return region
