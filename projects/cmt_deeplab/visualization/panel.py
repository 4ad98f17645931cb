"""Pictures side by side under their titles."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from cmt_deeplab.errors import UserError

from .drawer import label_font


def side_by_side(
    pictures: Sequence[np.ndarray], titles: Sequence[str], *, gap: int = 10
) -> np.ndarray:
    """One RGB picture with ``pictures (H, W, 3)`` uint8 of equal height in a row, each under its title, on white."""
    if len(pictures) != len(titles) or not pictures:
        raise UserError(
            f'There are {len(pictures)} pictures and {len(titles)} titles: give at least one picture and a title for each.'
        )
    heights = {p.shape[0] for p in pictures}
    if len(heights) > 1:
        raise UserError(
            f'The pictures have the heights {sorted(heights)}: bring them to one height first.'
        )
    height = heights.pop()
    size = max(12, height // 22)
    head = 2 * size
    page = Image.new(
        'RGB',
        (sum(p.shape[1] for p in pictures) + gap * (len(pictures) + 1), height + head + gap),
        'white',
    )
    draw = ImageDraw.Draw(page)
    left = gap
    for picture, title in zip(pictures, titles):
        draw.text((left, head / 2), title, font=label_font(size), fill=(40, 40, 46), anchor='lm')
        page.paste(Image.fromarray(picture), (left, head))
        left += picture.shape[1] + gap
    return np.array(page)
