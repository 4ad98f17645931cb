"""The content of the page for one image: pictures, table rows and sentences."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape

import cv2
import numpy as np
from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import FORMATS, BadImage, read_header
from cmt_deeplab.inference.held import HeldImage
from cmt_deeplab.visualization import PanopticDrawer

LONGEST_SIDE = 1600  # of a picture on the page
DIMMED = 0.35  # brightness of everything but the chosen segment


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest image that is accepted, in MiB and in millions of pixels."""

    megabytes: int
    megapixels: int

    def check(self, path: str) -> None:
        """Check the size of an image file and its header, without decoding it.

        Raises:
            UserError: the file is no image, or is too large.
        """
        name = os.path.basename(path)
        if os.path.getsize(path) > self.megabytes << 20:
            raise UserError(f'{name} has more than {self.megabytes} MB: choose a smaller file.')
        try:
            with open(path, 'rb') as file:
                height, width = read_header(file).size
        except BadImage as problem:
            raise UserError(f'{name} {problem}: choose another ({", ".join(FORMATS)}).') from None
        if height * width > self.megapixels * 1e6:
            raise UserError(
                f'{name} has {width} x {height} pixels, which are more than {self.megapixels} '
                'million: choose a smaller image.'
            )


class View:
    """The segments of a held image for some thresholds, as pictures, table rows and sentences.

    Args:
        held: the image with the output of the network.
        thresholds: the smallest class probability by class name.
        settings: other thresholds of the merge, by name.
    """

    def __init__(
        self, held: HeldImage, thresholds: Mapping[str, float], settings: Mapping[str, float]
    ) -> None:
        self.held = held
        self.result = result = held.result(thresholds, **settings)
        drawer = PanopticDrawer(
            classes=result.classes,
            num_things_classes=result.num_things_classes,
            palette=result.palette,
            max_side=LONGEST_SIDE,
        )
        self.colors = drawer.colors(result.segment_map)
        self.picture = drawer.draw(result.image, result.segment_map, colors=self.colors)

    @cached_property
    def layers(self) -> list[tuple[str, np.ndarray]]:
        """The name and the picture of each layer, at the size of ``picture``."""
        size = self.picture.shape[1::-1]
        return [
            (name, cv2.resize(layer, size, interpolation=cv2.INTER_NEAREST))
            for name, layer in self.held.layers(self.result, self.colors).items()
        ]

    def segment_at(self, x: int, y: int) -> int:
        """The id of the segment at a place of ``picture``; 0 is void."""
        ids, (height, width) = self.result.id_map, self.picture.shape[:2]
        return int(ids[y * ids.shape[0] // height, x * ids.shape[1] // width])

    def chosen(self, number: int) -> np.ndarray:
        """The picture in which everything but one segment is dim."""
        mask = self.result.mask(number).astype(np.uint8)
        mask = cv2.resize(mask, self.picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        return np.where(mask[..., None] > 0, self.picture, (self.picture * DIMMED).astype(np.uint8))

    def rows(self) -> list[list]:
        """A row for each segment: id, color, class, score and area."""
        return [
            [
                info['id'],
                f'<span class="swatch" style="background: {self._color(info)}"></span>',
                info['label'],
                _score(info),
                info['area'],
            ]
            for info in self.result.segments_info
        ]

    def words(self, number: int | None = None) -> str:
        """HTML that tells class, score and area of a segment, or without one what was found."""
        result = self.result
        height, width = result.id_map.shape
        if number is None:
            found = len(result.segments_info)
            return (
                f'<p>{found} segment{"s" * (found != 1)} in {width} x {height} pixels. Click one '
                'in the picture or in the table.</p>'
            )
        if not number:
            return '<p>Nothing was found at this place: it is void.</p>'
        info = result.segments_info[number - 1]
        return (
            f'<p><span class="swatch" style="background: {self._color(info)}"></span> '
            f'<b>{escape(info["label"])}</b>, {"thing" if info["isthing"] else "stuff"} · score '
            f'{_score(info)} · {info["area"]:,} pixels, {info["area"] / (width * height):.1%} of '
            'the image</p>'
        )

    def _color(self, info: Mapping) -> str:
        value = self.result.segment_map[self.result.mask(info['id'])][0]
        return f'rgb{self.colors[value]}'


def _score(info: Mapping) -> str:
    return '–' if info['score'] is None else f'{info["score"]:.2f}'
