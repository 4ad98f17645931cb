"""The shapes that people drew in a labeling tool, as the truth of images.

The reader of each tool returns the content of a file as :class:`Labeled` images; the rest is done
here for all tools.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cmt_deeplab.coco_format import check_same_size
from cmt_deeplab.errors import MissingFileError, UserError

from .annotated import AnnotatedImage, Layout, Region, Segment, Truth, painted
from .files import Files, counted, named
from .json_files import interpreting
from .polygons import Outline, Placed, Size, rasterized


@dataclass(frozen=True)
class Shape:
    """A shape of the class ``name``: the area of its outlines without its holes, or its mask.

    Shapes of one class and ``group`` are one object. An object with a higher ``level`` is on top. A
    shape without outlines and mask, such as a line, is left out; ``sort`` names it in the message.
    """

    name: str
    outlines: Sequence[Outline] = ()
    holes: Sequence[Outline] = ()
    mask: Callable[[Size], Placed] | None = None  # given the size of the image
    relative: bool = False  # the outlines are in shares of the width and the height
    group: object = None
    level: int = 0
    is_crowd: bool = False
    sort: str = 'shape'

    @property
    def has_area(self) -> bool:
        return bool(self.outlines or self.mask)

    def region(self, size: Size, where: str) -> Region:
        if self.mask:
            placed = self.mask(size)
        else:
            unit = size[::-1] if self.relative else (1, 1)
            placed = rasterized(self.outlines, size, where, holes=self.holes, unit=unit)
        return Region(Segment(self.name, self.is_crowd), *placed, self.level)


@dataclass(frozen=True)
class Labeled:
    """An image with its shapes, and the names that its file may have.

    ``embedded`` writes the image that the annotation file holds to a path, whose suffix it chooses.
    ``remark`` is a sentence for the user, which is told once with the number of such images.
    """

    names: Sequence[str]
    shapes: Sequence[Shape]
    size: tuple[int | None, int | None] = (None, None)
    split: str | None = None
    embedded: Callable[[Path], Path] | None = None
    remark: str = ''

    def read(self, path: Path, file: Path, size: Size) -> Truth:
        """The truth of the image at ``path``, whose size is ``size``."""
        if None not in self.size:
            remedy = 'take both from one place, and write the image without an EXIF orientation'
            check_same_size(str(path), size, f'its size in {file}', self.size, remedy)
        objects = {}
        for k, shape in enumerate(self.shapes):
            where = f'{file}: shape {k + 1} of {path.name} ({shape.name!r})'
            key = k if shape.group is None else (shape.name, shape.group)
            if shape.has_area:
                with interpreting(where):
                    objects.setdefault(key, []).append(shape.region(size, where))
        return painted([*objects.values()], size)


# The names of the classes that a file lists, and its images.
Read = Callable[[Path], tuple[Iterable[str], Iterable[Labeled]]]


def shapes_layout(
    tool: str, files: Files, sources: Sequence[Path], *, read: Read, kind: bool | None = None
) -> Layout:
    """The layout of images that were labeled in ``tool``, read from the files ``sources``.

    ``kind`` is True if all classes are things, and None if the format cannot say it.

    Raises:
        MissingFileError: an image is missing.
        UserError: a file is damaged, an image is annotated twice, or nothing has an area.
    """
    of_images, missing, left_out = {}, [], Counter()
    classes, remarks = {}, defaultdict(list)
    for file in sources:
        with interpreting(str(file)):
            listed, images = read(file)
            classes.update(dict.fromkeys(listed, kind))
            for image in images:
                path = _image_of(files, file, image)
                if path is None:
                    missing.append(f'{file} names {image.names[0]}')
                    continue
                first, kept = of_images.setdefault(path, (file, image))
                if kept is not image and first == file:
                    raise UserError(f'{file} lists {path} twice: take one of the entries out.')
                if kept is not image:
                    raise UserError(
                        f'{path} is annotated twice, in {first} and in {file}: take one of the '
                        'entries out, or move one of the files out of the folder.'
                    )
                left_out.update(s.sort for s in image.shapes if not s.has_area)
                classes.update((s.name, kind) for s in image.shapes if s.has_area)
                remarks[image.remark].append(path)
    if missing:
        raise MissingFileError(
            f'{missing[0]}, which is not below {files.root} (missing images: {len(missing)}): put '
            'it there, or take it out of the file.'
        )
    number = sum(len(image.shapes) for _, image in of_images.values()) - left_out.total()
    if left_out and not number:
        raise UserError(
            f'{sources[0]} has no masks, but shapes of the kind {[*left_out][0]!r}, which do not '
            'suffice: export polygons or masks.'
        )
    remarks['Left out, as no annotation names it'] = [p for p in files.images if p not in of_images]
    images, shapes = counted(len(of_images), 'image'), counted(number, 'shape')
    return Layout(
        f'{images} with {shapes} labeled in {tool} ({named(sources)})',
        [
            AnnotatedImage(path, partial(image.read, path, file), _split(files, image, path, file))
            for path, (file, image) in of_images.items()
        ],
        classes,
        [f'Left out, as {s!r} is no mask: {counted(n, "shape")}.' for s, n in left_out.items()]
        + [
            f'{remark}: {counted(len(paths), "image")} ({named(paths)}).'
            for remark, paths in remarks.items()
            if remark and paths
        ],
    )


def _image_of(files: Files, file: Path, image: Labeled) -> Path | None:
    found = (files.find_image(name, file) for name in image.names if name)
    if (path := next(filter(None, found), None)) or not image.embedded:
        return path
    return image.embedded(files.extracted / file.relative_to(files.root))


def _split(files: Files, image: Labeled, path: Path, file: Path) -> str | None:
    """The split, by the name of a file for many images, and by the folders of file and image."""
    of_many = not file.name.startswith(path.stem)
    return image.split or files.split_of(file, by_name=of_many) or files.split_of(path)
