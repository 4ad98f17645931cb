"""Images, archives and paths of a data set that do what nobody expects of data."""

import io
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from trial.attempt import Attempt
from trial.judge import Ended, Outcome, last_line, one_line, sentence
from trial.place import Place
from trial.situation import DETECTOR, INFERENCER, TEST, TRAIN, Found, faults

from .broken_files import one_try
from .disks import Files, came
from .hostile import convert, limited

kind = faults(
    'Files of a data set',
    'What a data set says and holds turns no image without its truth, opens no file outside of '
    'the data set, starts no program, and takes no more memory than an image does.',
)
LOADING = 'PanopticIndexDataset'
MOST = 1000  # MiB of a program that reads a small file


def loaded(place: Place) -> Iterator[dict]:
    """The training images with their truth as the pipeline loads them, before it changes them."""
    import cmt_deeplab  # noqa: F401
    from mmdet.registry import DATASETS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    cfg = Config.fromfile(str(place.config())).train_dataloader.dataset
    cfg.pipeline = cfg.pipeline[:2]
    built = DATASETS.build(cfg)
    built.full_init()
    for index in range(len(built)):
        yield built[index]


def agree(place: Place) -> Found:
    """Each segment of the truth must have one color of its image, which shows the segments."""
    mixed = 0
    for results in loaded(place):
        image, plane = results['img'].astype(np.int64), results['gt_index_map']
        colors = image @ [65536, 256, 1]
        segments = [np.unique(colors[plane == value]) for value in np.unique(plane) if value < 255]
        mixed += any(len(found) > 1 for found in segments)
    return Found(mixed, 0, 'images that do not show their truth:', 0)


def orient(place: Place, tag: int, size: tuple[int, int], turned: bool) -> None:
    """Make images that show their segments by color, with an EXIF orientation.

    Args:
        size: (height, width) to which image and PNG are cut.
        turned: the PNG is made of the turned image, else of the stored one.
    """
    for path, png in zip(place.images('train'), sorted(place.pngs('train').glob('*.png'))):
        image = Image.open(png).convert('RGB').crop((0, 0, *size[::-1]))
        exif = Image.Exif()
        exif[0x0112] = tag
        image.save(path, exif=exif)
        if turned:
            shown = cv2.imread(str(path), cv2.IMREAD_COLOR)
            image = Image.fromarray(np.ascontiguousarray(shown[..., ::-1]))
        image.save(png)

    def change(content: dict) -> None:
        by_id = {record['id']: record for record in content['images']}
        for annotation in content['annotations']:
            png = Image.open(place.pngs('train') / annotation['file_name'])
            by_id[annotation['image_id']].update(width=png.width, height=png.height)
            present = set(np.unique(np.array(png).astype(np.int64) @ [1, 256, 65536]))
            annotation['segments_info'] = [
                segment for segment in annotation['segments_info'] if segment['id'] in present
            ]

    place.edit(change, 'train')


def fresh(place: Place) -> Callable[[], None]:
    """What puts the data set back as it is now."""
    saved = place.folder / 'saved'
    shutil.copytree('data', saved)

    def restore() -> None:
        shutil.rmtree('data')
        shutil.copytree(saved, 'data')

    return restore


for turned in (False, True):
    of = 'turned' if turned else 'stored'

    @kind(f'EXIF orientations 1 to 8, square or not; the PNG is of the {of} image', LOADING)
    def exif(place: Place, turned=turned) -> Iterator[Outcome]:
        restore = fresh(place)
        for size in ((96, 96), (64, 96), (96, 64)):
            for tag in range(1, 9):
                restore()
                orient(place, tag, size, turned)
                yield one_try(partial(agree, place), 'EXIF|orientation|rotat')


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 96 96
(CANARY) (w) file closefile
showpage
"""


def foreign_format(name: str) -> Callable[[Path, Path], None]:
    def write(path: Path, canary: Path) -> None:
        if name == 'EPS':
            path.write_bytes(POSTSCRIPT.replace(b'CANARY', str(canary).encode()))
        else:
            Image.new('RGB', (96, 96)).save(path, format=name)

    return write


FOREIGN = ('EPS', 'PCX', 'TGA', 'SGI', 'ICO', 'PDF')


def reads(place: Place) -> dict[str, tuple[Path, Callable]]:
    """By route: the file that it reads, and what reads it."""
    image, png = place.images('train')[0], sorted(place.pngs('train').glob('*.png'))[0]
    given = place.folder / 'given.png'
    return {
        LOADING: (image, lambda: list(loaded(place))),
        LOADING + ', panoptic PNG': (png, lambda: list(loaded(place))),
        DETECTOR: (given, lambda: detect(place, given)),
        INFERENCER: (given, lambda: place.inferencer()(str(given), return_datasamples=True)),
    }


def detect(place: Place, path: Path) -> None:
    from mmdet.apis import inference_detector

    inference_detector(place.detector(), str(path))


def refused(place: Place, route: str, write: Callable, canary: Path, number: int) -> Outcome:
    """What comes of reading the file of a route that ``write(path, canary)`` has made."""
    path, act = reads(place)[route]
    write(path, canary)
    ended = Attempt(limited(lambda *_: act(), place, path), f'read{number}').wait()
    if canary.exists():
        return Outcome('ran', path.name)
    if ended.exit_code in (None, -24):
        return Outcome('no end', path.name)
    if ended.exit_code < 0 or 'Traceback' in ended.errors:
        line = (ended.errors.strip().splitlines() or [f'died ({ended.exit_code})'])[-1]
        return Outcome('trace', last_line(line))
    if ended.exit_code == 0:
        return Outcome('silently wrong', 'is read without a word')
    if ended.memory > MOST:
        return Outcome('silently wrong', f'takes {ended.memory} MiB')
    said = one_line(sentence(ended))
    return Outcome('told' if path.name in said else 'misleading', said)


def bomb(path: Path, canary: Path) -> None:
    """A PNG of 30,000 x 30,000 pixels in 2.6 MB."""
    side = 30_000

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + checksum

    packer = zlib.compressobj(9)
    block = packer.compress(b'\0' * (1 + 3 * side) * 100)
    packed = block[:2], block[2:] + packer.flush(zlib.Z_FULL_FLUSH)  # a head, and the rows
    end = b'\3\0' + struct.pack('>I', (1 + 3 * side) * side % 65521 << 16 | 1)
    data = packed[0] + packed[1] * (side // 100) + end
    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    parts = chunk(b'IHDR', header), chunk(b'IDAT', data), chunk(b'IEND', b'')
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(parts))


for route in (LOADING, LOADING + ', panoptic PNG', DETECTOR, INFERENCER):

    @kind('Formats that nobody trains on, under the name of a PNG', route)
    def formats(place: Place, route=route) -> Iterator[Outcome]:
        for number, name in enumerate(FOREIGN):
            yield refused(place, route, foreign_format(name), place.folder / 'canary', number)

    @kind('A PNG that unpacks to 2.7 GB', route)
    def bombs(place: Place, route=route) -> Iterator[Outcome]:
        yield refused(place, route, bomb, place.folder / 'canary', 0)


OUTSIDE = {
    'a file_name with ../': os.path.relpath,
    'an absolute file_name': lambda path, folder: str(path),
}
for name, path_of in OUTSIDE.items():
    for what in ('image', 'panoptic PNG'):

        @kind(f'The annotation file gives {what} {name}', TRAIN)
        def outside(place: Place, path_of=path_of, what=what) -> Iterator[Outcome]:
            shutil.copy(place.images('train')[0], 'outside.png')
            if what != 'image':
                shutil.copy(sorted(place.pngs('train').glob('*.png'))[0], 'outside.png')

            def change(content: dict) -> None:
                key = 'images' if what == 'image' else 'annotations'
                folder = place.images('train')[0].parent if what == 'image' else place.pngs('train')
                content[key][0]['file_name'] = path_of(place.folder / 'outside.png', folder)

            place.edit(change, 'train')
            act = partial(place.tool, TRAIN, place.config(), '--work-dir', 'work')
            ended = Attempt(act, 'outside').wait()
            outcome = came(ended)
            if outcome.kind == 'right':
                outcome = Outcome('silently wrong', 'a file outside of the data set is read')
            yield outcome


@kind('A zip (.npz) of 4 MB that unpacks to 1 GB', 'deeplab2_to_mmdet.py')
def zip_bomb(place: Place) -> Iterator[Outcome]:
    path, size = place.folder / 'bomb.npz', 1 << 30
    header = io.BytesIO()
    shape = dict(descr='<f4', fortran_order=False, shape=(size // 4,))
    np.lib.format.write_array_header_1_0(header, shape)
    block = b'\0' * (1 << 24)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open('weights.npy', 'w', force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(size // len(block)):
                member.write(block)
    act = limited(convert('deeplab2_to_mmdet'), place, path)
    ended = Attempt(act, 'zip').wait()
    outcome = came(ended)
    if ended.memory > MOST or outcome.kind == 'right':
        outcome = Outcome('silently wrong', f'takes {ended.memory} MiB')
    elif outcome.kind == 'told' and path.name not in outcome.text:
        outcome = Outcome('misleading', outcome.text)
    yield outcome


@kind('Two images of equal base name in two folders', TEST)
def equal_names(place: Place) -> Iterator[Outcome]:
    """Predictions are written for both images, or the data set is refused."""

    def change(content: dict) -> None:
        for number, image in enumerate(content['images'][:2]):
            old = place.folder / 'data/shapes/val2017' / image['file_name']
            image['file_name'] = f'city{number}/a.png'
            (old.parent / f'city{number}').mkdir()
            old.rename(old.parent / image['file_name'])

    images = len(place.images('val'))
    place.edit(change, 'val')
    text = "test_evaluator = dict(outfile_prefix='predicted/p', format_only=True)\n"
    test = partial(place.tool, TEST, place.config(text), place.checkpoint, '--work-dir', 'tested')
    ended: Ended = Attempt(test, 'tested').wait()
    outcome = came(ended)
    written = len(list(Path('predicted').rglob('*.png')))
    if outcome.kind == 'right' and written != images:
        outcome = Outcome('lost', f'{written} PNGs for {images} images')
    yield outcome


@kind('Predictions are written again into a folder that another run has filled', TEST)
def filled(place: Place) -> Iterator[Outcome]:
    Path('predicted').mkdir()
    Path('predicted/notes.txt').write_text('of somebody else')
    files = Files(Path('predicted'))
    text = "test_evaluator = dict(outfile_prefix='predicted/p')\n"
    test = partial(place.tool, TEST, place.config(text), place.checkpoint, '--work-dir', 'tested')
    yield files.after(came(Attempt(test, 'tested').wait()))
