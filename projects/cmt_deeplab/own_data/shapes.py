"""Shapes that people drew in a labeling tool, as the truth of images."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmt_deeplab.coco_format import check_same_size
from cmt_deeplab.errors import MissingFileError

from .annotated import AnnotatedImage, Layout, Region, Segment, Truth, painted
from .files import counted
from .json_files import interpreting
from .polygons import united

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Shape:
    """A shape of the class ``name``; ``region(segment, size, where)`` rasterizes it.

    Shapes of one class and ``group`` are one object.
    """

    name: str
    region: Callable[[Segment, Size, str], Region]
    group: object = None
    level: int = 0


@dataclass(frozen=True)
class LabeledImage:
    """An image, the annotation file that names it, its stated size, and its shapes."""

    path: Path
    file: Path
    shapes: Sequence[Shape]
    size: tuple[int | None, int | None] = (None, None)
    split: str | None = None

    def read(self, size: Size) -> Truth:
        if None not in self.size:
            remedy = 'take both from one place, and write the image without an EXIF orientation'
            check_same_size(str(self.path), size, f'its size in {self.file}', self.size, remedy)
        objects = {}
        for k, shape in enumerate(self.shapes):
            where = f'{self.file}: shape {k + 1} of {self.path.name} ({shape.name!r})'
            key = k if shape.group is None else (shape.name, shape.group)
            with interpreting(where):
                region = shape.region(Segment(shape.name), size, where)
                objects.setdefault(key, []).append(region)
        return painted([united(regions) for regions in objects.values()], size)


def shapes_layout(
    tool: str,
    images: Sequence[LabeledImage],
    *,
    left_out: Counter,
    missing: Sequence[tuple[str, Path]] = (),
    classes: Sequence[str] = (),
    kind: bool | None = None,
) -> Layout:
    """The layout of images that were labeled in ``tool``.

    Args:
        left_out: how many shapes of each sort have no area.
        missing: names of images that are not there, and the files that name them.
        classes: those that the files list; others are added as they occur.
        kind: whether all classes are things; None where the format cannot say.

    Raises:
        MissingFileError: an image is missing.
    """
    refuse_missing(missing)
    number = sum(len(image.shapes) for image in images)
    names = dict.fromkeys([*classes, *(s.name for image in images for s in image.shapes)])
    notes = [
        f'Left out, as the type {sort!r} has no area: {counted(count, "shape")}.'
        for sort, count in left_out.items()
    ]
    return Layout(
        f'{counted(len(images), "image")} with {counted(number, "shape")} labeled in {tool}',
        [AnnotatedImage(image.path, image.read, image.split) for image in images],
        dict.fromkeys(names, kind),
        notes,
    )


def refuse_missing(missing: Sequence[tuple[str, Path]]) -> None:
    """Refuse annotation files that name images which are not there."""
    if missing:
        raise MissingFileError(
            f'{missing[0][1]} names {missing[0][0]}, which is not below the folder of the data '
            f'(missing images: {len(missing)}): put them there, or take them out of the file.'
        )
