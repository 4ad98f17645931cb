"""The classes of the generated scenes: outlines of things, textures of stuff, and their COCO category ids."""

import numpy as np

from cmt_deeplab.errors import UserError

THING_CLASSES = ('disk', 'square', 'triangle', 'star', 'ring', 'cross')
STUFF_CLASSES = ('stripes', 'checks', 'dots', 'grain', 'gradient')
# Not contiguous, as COCO's: readers of the format must map ids to labels.
CATEGORY_IDS: dict[str, int] = {name: 10 + 3 * i for i, name in enumerate(THING_CLASSES)}
CATEGORY_IDS.update({name: 100 + 7 * i for i, name in enumerate(STUFF_CLASSES)})


def categories() -> list[dict]:
    names = [*THING_CLASSES, *STUFF_CLASSES]
    return [
        dict(
            id=CATEGORY_IDS[n],
            name=n,
            isthing=int(n in THING_CLASSES),
            supercategory='shape' if n in THING_CLASSES else 'texture',
            color=[37 * (i + 2) % 256, 91 * (i + 1) % 256, 151 * (i + 3) % 256],
        )
        for i, n in enumerate(names)
    ]


def shape_mask(shape: str, radius: float, angle: float) -> np.ndarray:
    """Outline of one thing, (2r+1, 2r+1) bool, r = ceil(radius), rotated by ``angle`` radians."""
    r = int(np.ceil(radius))
    y, x = np.mgrid[-r : r + 1, -r : r + 1] / radius
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    rho = np.hypot(u, v)
    if shape == 'disk':
        return rho <= 1
    if shape == 'square':
        return np.maximum(abs(u), abs(v)) <= np.sqrt(0.5)
    if shape == 'triangle':
        return np.maximum(v, np.maximum(-0.5 * v + 0.866 * u, -0.5 * v - 0.866 * u)) <= 0.5
    if shape == 'star':
        # Fold the five points onto one half point: inside is one side of the edge from the tip (1, 0) to the notch.
        fold = abs((np.arctan2(v, u) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        notch = 0.42 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
        return (rho * np.cos(fold) - 1) * notch[1] - rho * np.sin(fold) * (notch[0] - 1) <= 0
    if shape == 'ring':
        return (rho <= 1) & (rho >= 0.55)
    if shape == 'cross':
        return (np.minimum(abs(u), abs(v)) <= 0.32) & (rho <= 1)
    raise UserError(f'unknown shape {shape!r}; choose one of {THING_CLASSES}')


def texture(name: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """Blend factor in [0, 1] between the two colors of a stuff region, (side, side) float."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 10, 2)
    u, v = (
        np.cos(angle) * x + np.sin(angle) * y + phase[0],
        np.cos(angle) * y - np.sin(angle) * x + phase[1],
    )
    if name == 'stripes':
        return (u % (period := rng.uniform(6, 10)) < period / 2).astype(np.float32)
    if name == 'checks':
        period = rng.uniform(9, 14)
        return ((u % period < period / 2) ^ (v % period < period / 2)).astype(np.float32)
    if name == 'dots':
        period = rng.uniform(7, 10)
        return (np.hypot(u % period - period / 2, v % period - period / 2) < 0.28 * period).astype(
            np.float32
        )
    if name == 'grain':
        coarse = rng.random(((side + 1) // 2, (side + 1) // 2), dtype=np.float32)
        return coarse.repeat(2, 0).repeat(2, 1)[:side, :side]
    if name == 'gradient':
        ramp = u - u.min()
        return ramp / ramp.max()
    raise UserError(f'unknown texture {name!r}; choose one of {STUFF_CLASSES}')
