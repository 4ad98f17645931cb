"""The classes of the generated scenes: outlines of things, textures of stuff, COCO category ids."""

import numpy as np

from cmt_deeplab.categories import default_color

THING_CLASSES = ('disk', 'square', 'triangle', 'star', 'ring', 'cross')
STUFF_CLASSES = ('stripes', 'checks', 'dots', 'grain', 'gradient')
# Not contiguous, like COCO's: readers of the format must map ids to labels.
CATEGORY_IDS = {name: 10 + 3 * i for i, name in enumerate(THING_CLASSES)}
CATEGORY_IDS.update({name: 100 + 7 * i for i, name in enumerate(STUFF_CLASSES)})


CATEGORIES = [  # of the annotation file
    dict(
        id=category_id,
        name=name,
        isthing=int(name in THING_CLASSES),
        supercategory='shape' if name in THING_CLASSES else 'texture',
        color=list(default_color(k)),
    )
    for k, (name, category_id) in enumerate(CATEGORY_IDS.items())
]


def shape_mask(shape: str, radius: float, angle: float) -> np.ndarray:
    """Outline of one thing, (2r+1, 2r+1) bool, r = ceil(radius), rotated by ``angle`` radians."""
    r = int(np.ceil(radius))
    y, x = np.mgrid[-r : r + 1, -r : r + 1] / radius
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    rho, small, large = np.hypot(u, v), np.minimum(abs(u), abs(v)), np.maximum(abs(u), abs(v))
    if shape == 'square':
        return large <= np.sqrt(0.5)
    if shape == 'triangle':
        return np.maximum(v, np.maximum(-0.5 * v + 0.866 * u, -0.5 * v - 0.866 * u)) <= 0.5
    if shape == 'star':
        # The five points are folded onto one half point. Inside is one side of the edge from the
        # tip (1, 0) to the notch.
        fold = abs((np.arctan2(v, u) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        notch = 0.42 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
        return (rho * np.cos(fold) - 1) * notch[1] - rho * np.sin(fold) * (notch[0] - 1) <= 0
    if shape == 'cross':
        return (small <= 0.32) & (rho <= 1)
    return (rho <= 1) & (rho >= (0.55 if shape == 'ring' else 0))


def texture(name: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """Blend factor in [0, 1] between the two colors of a stuff region, (side, side) float32."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 10, 2)
    u = np.cos(angle) * x + np.sin(angle) * y + phase[0]
    v = np.cos(angle) * y - np.sin(angle) * x + phase[1]
    if name == 'grain':
        coarse = rng.random(((side + 1) // 2, (side + 1) // 2), dtype=np.float32)
        return coarse.repeat(2, 0).repeat(2, 1)[:side, :side]
    if name == 'gradient':
        ramp = u - u.min()
        return ramp / ramp.max()
    low, high = dict(stripes=(6, 10), checks=(9, 14), dots=(7, 10))[name]
    period = rng.uniform(low, high)
    u, v = u % period, v % period
    if name == 'dots':
        painted = np.hypot(u - period / 2, v - period / 2) < 0.28 * period
    else:
        painted = (u < period / 2) ^ ((v < period / 2) & (name == 'checks'))
    return painted.astype(np.float32)
