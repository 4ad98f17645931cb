"""Generated scenes like stained tissue: many small nuclei that look alike and touch each other.

There is one thing class and one stuff class, so that PQ over all classes says little of the things.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .shapes_canvas import Canvas, Drawn, ShapesPreset

NUCLEUS, TISSUE = CATEGORIES = [
    dict(id=1, name='nucleus', isthing=1, supercategory='cell', color=[104, 66, 142]),
    dict(id=2, name='tissue', isthing=0, supercategory='cell', color=[224, 176, 204]),
]
TOUCHING_SHARE = 0.6  # of the nuclei are put beside an earlier one
MAX_COVERED = 0.15  # the largest share of itself that a nucleus loses to one that overlaps it


@dataclass(frozen=True)
class NucleiPreset(ShapesPreset):
    """As its base class; the options on occlusion and crowds have no effect."""

    size: int = 256
    num_stuff: tuple[int, int] = (1, 1)
    num_things: tuple[int, int] = (150, 350)
    radius: tuple[float, float] = (0.012, 0.035)
    occluded_share: float = 0.0
    crowd_probability: float = 0.0
    void_probability: float = 0.0
    noise: float = 6.0

    @property
    def categories(self) -> list[dict]:
        return CATEGORIES

    def canvas(self, rng: np.random.Generator) -> Canvas:
        return NucleiCanvas(self, rng)


class NucleiCanvas(Canvas):
    """Tissue, on which each call of :meth:`put_thing` puts a nucleus."""

    def __init__(self, preset: NucleiPreset, rng: np.random.Generator) -> None:
        self.preset, self.rng, self.side, self.num_stuff = preset, rng, preset.size, 1
        self.owner = np.zeros((self.side, self.side), int)
        color = TISSUE['color'] + rng.normal(0, 8, 3)
        clouds = _clouds(self.side, self.side / 10, rng) + 0.6 * _clouds(self.side, 2, rng)
        self.image = (color + 11 * clouds[..., None]).astype(np.float32)
        self.purple = NUCLEUS['color'] + rng.normal(0, 10, 3)
        self.drawn = [Drawn(TISSUE['name'], color)]
        self.places: list[tuple[np.ndarray, float]] = []  # center and radius of each nucleus

    def put_thing(self, target: int | None = None) -> bool:
        """Put an ellipse beside an earlier one or anywhere, unless it would cover too much."""
        rng = self.rng
        low, high = np.multiply(self.preset.radius, self.side)
        for _ in range(40):
            radius = low + (high - low) * rng.beta(1.5, 2.5)  # small ones are more frequent
            center = rng.uniform(0, self.side, 2)
            if self.places and rng.random() < TOUCHING_SHARE:
                middle, other = self.places[rng.integers(len(self.places))]
                angle = rng.uniform(0, 2 * np.pi)
                center = middle + (radius + other) * 0.9 * np.array([np.sin(angle), np.cos(angle)])
            start = np.maximum(np.floor(center - radius), 0).astype(int)
            stop = np.minimum(np.ceil(center + radius) + 1, self.side).astype(int)
            if (stop - start < low).any():  # cut off by the border of the image
                continue
            window = tuple(map(slice, start, stop))
            distance = _ellipse(window, center, radius, rng)
            mask = distance <= 1
            covered = np.bincount(self.owner[window][mask], minlength=1)
            covered[0] = 0
            lost = {k: self.drawn[k].visible - covered[k] for k in np.flatnonzero(covered)}
            if mask.sum() < 4 * low or any(
                left < (1 - MAX_COVERED) * self.drawn[k].area for k, left in lost.items()
            ):
                continue
            for k, left in lost.items():
                self.drawn[k].visible = left
            color = self.purple + rng.normal(0, 12)
            shading = 10 * rng.standard_normal(mask.shape) - 22 * distance**3  # a dark rim
            self.image[window][mask] = (color + shading[..., None])[mask]
            self.owner[window][mask] = len(self.drawn)
            area = int(mask.sum())
            self.drawn.append(Drawn(NUCLEUS['name'], color, radius=radius, area=area, visible=area))
            self.places.append((center, radius))
            return True
        return False


def _clouds(side: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise (side, side) of mean 0 and standard deviation 1."""
    noise = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), sigma)
    return (noise - noise.mean()) / noise.std()


def _ellipse(
    window: tuple[slice, slice], center: np.ndarray, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """The distance from the center within a window, 1 at the edge of an ellipse."""
    y, x = np.mgrid[window] - center[:, None, None]
    angle, flatness = rng.uniform(0, np.pi), rng.uniform(0.65, 1)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return np.hypot(u, v / flatness) / radius
