"""Image files of every kind and size are right or refused by name."""

import cv2
import numpy as np
from PIL import Image
from trial.place import Place, ids_of, write_ids
from trial.situation import DETECTOR, INFERENCER, TRAIN, Found, Wrong, section

from .arrays import detect, infer, share, three
from .common import must_tell, trains

kind = section(
    'Image files',
    'Files of other color types and sizes are read as every viewer shows them, or refused '
    'by name. Damaged files are found when the data set is built.',
)

SIXTEEN = 'https://github.com/open-mmlab/mmdetection/issues/12299'


def converted(place: Place, name: str, convert, plain=None) -> Found:
    """The map of a converted file against that of the image as every viewer shows it."""
    path = place.folder / name
    convert(Image.open(place.images('val')[0]).convert('RGB'), path)
    right = cv2.imread(str(path)) if plain is None else plain
    return Found(
        share(detect(place, str(path)), detect(place, right)), 100.0, 'same pixels in percent:'
    )


def gray_of(place: Place) -> np.ndarray:
    return np.array(Image.open(place.images('val')[0]).convert('L'))


@kind('A gray PNG', DETECTOR)
def gray(place: Place) -> Found:
    return converted(
        place, 'gray.png', lambda i, path: i.convert('L').save(path), three(gray_of(place))
    )


@kind('A palette PNG', DETECTOR)
def palette(place: Place) -> Found:
    return converted(place, 'palette.png', lambda i, path: i.quantize(200).save(path))


@kind('A PNG with transparency', DETECTOR)
def transparent(place: Place) -> Found:
    return converted(place, 'rgba.png', lambda i, path: i.convert('RGBA').save(path), place.image())


@kind('A CMYK JPEG', DETECTOR, told='CMYK')
def cmyk(place: Place) -> Found:
    path = place.folder / 'cmyk.jpg'
    image = Image.open(place.images('val')[0]).convert('CMYK')
    image.save(path, quality=100, subsampling=0)
    right = np.array(Image.open(path).convert('RGB'))[..., ::-1]
    found = detect(place, str(path))
    agreement = share(found, detect(place, np.ascontiguousarray(right)))
    return Found(min(agreement, 95.0), 95.0, 'same pixels in percent, at least:')


@kind('A 16-bit PNG that uses all 16 bits', DETECTOR, told='16', report=SIXTEEN)
def sixteen(place: Place) -> Found:
    path = place.folder / 'sixteen.png'
    cv2.imwrite(str(path), place.image().astype(np.uint16) * 257)
    return Found(
        share(detect(place, str(path)), detect(place, place.image())),
        100.0,
        'same pixels in percent:',
    )


for route, ask in ((DETECTOR, detect), (INFERENCER, infer)):

    @kind('12 bits in a 16-bit PNG', route, told='16|bit', report=SIXTEEN)
    def twelve(place: Place, ask=ask) -> Found:
        path = place.folder / 'twelve.png'
        cv2.imwrite(str(path), place.image().astype(np.uint16) * 16)
        return Found(
            share(ask(place, str(path)), ask(place, place.image())),
            100.0,
            'same pixels in percent:',
        )


@kind('12 bits in 16-bit PNGs', TRAIN, told='16|bit', report=SIXTEEN)
def twelve_trained(place: Place) -> Wrong:
    for path in place.images('train'):
        cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 16)
    return must_tell(place)


@kind('A JPEG that its EXIF data turn by 90 degrees', DETECTOR)
def turned(place: Place) -> Found:
    path = place.folder / 'turned.jpg'
    image = Image.open(place.images('val')[0]).convert('RGB').crop((0, 0, 96, 64))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif, quality=95)
    return Found(detect(place, str(path)).shape, (96, 64), 'size of the map:')


for height, width in ((96, 1), (1, 96), (1, 1)):

    @kind(f'An image of {height} x {width} pixels (height x width)', DETECTOR, told='pixel|size')
    def thin(place: Place, size=(height, width)) -> Found:
        path = place.folder / 'thin.png'
        cv2.imwrite(str(path), place.image()[: size[0], : size[1]])
        return Found(detect(place, str(path)).shape, size, 'size of the map:')


def damage(place: Place, write) -> None:
    write(place.images('train')[0])


@kind('An image breaks off in the middle', TRAIN, told=r'000000000001\.png')
def truncated(place: Place) -> Wrong:
    damage(place, lambda path: path.write_bytes(path.read_bytes()[:2000]))
    return must_tell(place)


@kind('An image file is empty', TRAIN, told=r'000000000001\.png')
def no_bytes(place: Place) -> Wrong:
    damage(place, lambda path: path.write_bytes(b''))
    return must_tell(place)


@kind('An image file holds an HTML page, as failed downloads do', TRAIN, told=r'000000000001\.png')
def page(place: Place) -> Wrong:
    damage(place, lambda path: path.write_text('<html>404</html>' * 100))
    return must_tell(place)


@kind('An image is missing', TRAIN, told=r'000000000001\.png')
def missing(place: Place) -> Wrong:
    damage(place, lambda path: path.unlink())
    return must_tell(place)


@kind('An image file breaks off in the middle', DETECTOR, told=r'broken\.png')
def truncated_inference(place: Place) -> Wrong:
    path = place.folder / 'broken.png'
    path.write_bytes(place.images('val')[0].read_bytes()[:3000])
    detect(place, str(path))
    return Wrong('predicts the missing rest as gray')


@kind('An image is a JPEG named .png', TRAIN)
def other_format(place: Place) -> Found:
    def rewrite(path) -> None:
        Image.open(path).convert('RGB').save(path, format='JPEG')

    damage(place, rewrite)
    return trains(place)


@kind('An image has another size than the JSON says', TRAIN, told=r'000000000001\.png')
def other_size(place: Place) -> Wrong:
    damage(place, lambda path: cv2.imwrite(str(path), cv2.imread(str(path))[:50]))
    return must_tell(place)


@kind('Width and height are exchanged in the JSON', TRAIN, told=r'x')
def exchanged(place: Place) -> Wrong:
    def change(content: dict) -> None:
        content['images'][0].update(height=96, width=80)

    for folder in ('data/shapes/train2017', 'data/shapes/annotations/panoptic_train2017'):
        path = str(place.folder / folder / '000000000001.png')
        cv2.imwrite(path, cv2.imread(path)[:80])

    def listed(content: dict) -> None:
        present = set(np.unique(ids_of(place.pngs('train') / '000000000001.png')))
        annotation = content['annotations'][0]
        annotation['segments_info'] = [s for s in annotation['segments_info'] if s['id'] in present]

    place.edit(listed, 'train')
    place.edit(change, 'train')
    return must_tell(place)


@kind('A panoptic PNG was saved as a palette PNG', TRAIN, told=r'000000000001\.png')
def palette_truth(place: Place) -> Wrong:
    path = place.pngs('train') / '000000000001.png'
    Image.open(path).quantize(64).save(path)
    return must_tell(place)


@kind('A panoptic PNG was saved as a JPEG, whose colors are not exact', TRAIN, told=r'000000000001')
def jpeg_truth(place: Place) -> Wrong:
    path = place.pngs('train') / '000000000001.png'
    Image.open(path).convert('RGB').save(path, format='JPEG')
    return must_tell(place)


@kind('A panoptic PNG has a segment that the JSON lacks', TRAIN, told=r'000000000001')
def unlisted(place: Place) -> Wrong:
    place.edit(lambda content: content['annotations'][0]['segments_info'].pop(), 'train')
    return must_tell(place)


@kind('An image has 300 segments', TRAIN)
def many_segments(place: Place) -> Found:
    segments(place, 300)
    return trains(place, batch=1, iterations=6)


@kind('An image has no segment', TRAIN)
def no_segments(place: Place) -> Found:
    segments(place, 0)
    return trains(place, batch=1, iterations=6)


def segments(place: Place, number: int) -> None:
    """Give the first training image ``number`` segments in rows of 4 x 4 pixels."""
    cells = np.arange(24 * 24).reshape(24, 24).repeat(4, 0).repeat(4, 1) + 1
    ids = np.where(cells <= number, cells, 0)
    write_ids(place.pngs('train') / '000000000001.png', ids)

    def change(content: dict) -> None:
        content['annotations'][0]['segments_info'] = [
            dict(id=n, category_id=10, area=16, iscrowd=0, bbox=[0, 0, 4, 4])
            for n in range(1, number + 1)
        ]

    place.edit(change, 'train')
