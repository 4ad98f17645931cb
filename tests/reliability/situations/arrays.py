"""Arrays given to the inference API are checked at the door."""

import cv2
import numpy as np
from trial.place import Place
from trial.situation import DETECTOR, INFERENCER, Found, Wrong, section

kind = section(
    'Arrays at the door',
    "mmdet's inference takes images as arrays in OpenCV's order: (height, width, 3), uint8, "
    'blue first. What differs from this is either converted without a doubt or refused '
    'before it reaches the network.',
)

ARRAYS = 'https://github.com/open-mmlab/mmdetection/issues/3637'
GRAY = 'https://github.com/ultralytics/ultralytics/issues/24750'


def detect(place: Place, image) -> np.ndarray:
    from mmdet.apis import inference_detector

    return map_of(inference_detector(place.detector(), image))


def infer(place: Place, image) -> np.ndarray:
    inferencer = place.inferencer()
    return map_of(inferencer(image, return_datasamples=True)['predictions'][0])


def map_of(sample) -> np.ndarray:
    return sample.pred_panoptic_seg.sem_seg.numpy()[0]


ROUTES = {DETECTOR: detect, INFERENCER: infer}


def share(one: np.ndarray, other: np.ndarray) -> float:
    """The percentage of pixels on which two maps agree."""
    return 100 * float((one == other).mean()) if one.shape == other.shape else 0.0


def same_as_file(place: Place, route: str, image, plain=None) -> Found:
    """The map of the array against that of the plain image, by default the first of the data."""
    plain = place.image() if plain is None else plain
    found = ROUTES[route](place, image)
    return Found(share(found, ROUTES[route](place, plain)), 100.0, 'same pixels in percent:')


def gray_of(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


def three(gray: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)


DOOR = r'array|channel|shape|dtype|uint8|float|image'
for route in (DETECTOR, INFERENCER):

    @kind('An image as an array', route, report=ARRAYS)
    def plain(place: Place, route: str = route) -> Found:
        from mmdet.apis import inference_detector

        path = str(place.images('val')[0])
        right = map_of(inference_detector(place.detector(), path))
        return Found(
            share(ROUTES[route](place, place.image()), right), 100.0, 'same pixels in percent:'
        )

    @kind('A gray array (H, W)', route, told=DOOR, report=GRAY)
    def gray(place: Place, route: str = route) -> Found:
        gray = gray_of(place.image())
        return same_as_file(place, route, gray, three(gray))

    @kind('A gray array (H, W, 1)', route, told=DOOR)
    def gray_axis(place: Place, route: str = route) -> Found:
        gray = gray_of(place.image())
        return same_as_file(place, route, gray[..., None], three(gray))

    @kind('An array (H, W, 4) with transparency', route, told=DOOR)
    def four(place: Place, route: str = route) -> Found:
        image = place.image()
        return same_as_file(place, route, cv2.cvtColor(image, cv2.COLOR_BGR2BGRA))

    @kind('An array (3, H, W)', route, told=DOOR)
    def channels_first(place: Place, route: str = route) -> Wrong:
        ROUTES[route](place, np.ascontiguousarray(place.image().transpose(2, 0, 1)))
        return Wrong('predicts 3 rows of pixels')

    @kind('An empty array', route, told=DOOR + '|empty')
    def empty(place: Place, route: str = route) -> Wrong:
        ROUTES[route](place, np.zeros((0, 96, 3), np.uint8))
        return Wrong('predicts nothing')

    @kind('A uint16 array with values up to 65535', route, told=DOOR)
    def sixteen(place: Place, route: str = route) -> Found:
        return same_as_file(place, route, place.image().astype(np.uint16) * 257)

    @kind('A float array from 0 to 1', route, told=DOOR)
    def unit(place: Place, route: str = route) -> Found:
        return same_as_file(place, route, (place.image() / 255).astype(np.float32))

    @kind('A float array from 0 to 255', route, told=DOOR)
    def floats(place: Place, route: str = route) -> Found:
        return same_as_file(place, route, place.image().astype(np.float32))

    @kind('A view of an array with negative strides', route)
    def strides(place: Place, route: str = route) -> Found:
        mirrored = place.image()[:, ::-1]
        return same_as_file(place, route, mirrored, np.ascontiguousarray(mirrored))


@kind('An int64 array from 0 to 255', DETECTOR, told=DOOR)
def whole(place: Place) -> Found:
    return same_as_file(place, DETECTOR, place.image().astype(np.int64))


@kind('A boolean array', DETECTOR, told=DOOR)
def boolean(place: Place) -> Wrong:
    detect(place, place.image() > 127)
    return Wrong('predicts from 0 and 1 as if they were gray levels')


@kind('A float array with NaN', DETECTOR, told=DOOR + '|finite|NaN')
def nan(place: Place) -> Wrong:
    image = place.image().astype(np.float32)
    image[3, 4] = np.nan
    detect(place, image)
    return Wrong('predicts from NaN')


@kind('A PIL image in place of a path or an array', DETECTOR, told=r'PIL|array|path')
def pillow(place: Place) -> Found:
    from PIL import Image

    return same_as_file(place, DETECTOR, Image.open(place.images('val')[0]))


@kind('An array, then a path, on one model', DETECTOR)
def array_then_path(place: Place) -> Found:
    from mmdet.apis import inference_detector

    model, path = place.detector(), str(place.images('val')[0])
    first = map_of(inference_detector(model, place.image()))
    second = map_of(inference_detector(model, path))
    return Found(share(first, second), 100.0, 'same pixels in percent:')


@kind('A path, then an array, on one model', DETECTOR)
def path_then_array(place: Place) -> Found:
    from mmdet.apis import inference_detector

    model, path = place.detector(), str(place.images('val')[0])
    first = map_of(inference_detector(model, path))
    second = map_of(inference_detector(model, place.image()))
    return Found(share(first, second), 100.0, 'same pixels in percent:')


@kind('An array, then a path, on one inferencer', INFERENCER)
def inferencer_array_then_path(place: Place) -> Found:
    inferencer = place.inferencer()
    ask = lambda image: map_of(inferencer(image, return_datasamples=True)['predictions'][0])
    first, second = ask(place.image()), ask(str(place.images('val')[0]))
    return Found(share(first, second), 100.0, 'same pixels in percent:')


@kind('The path of an image does not exist', DETECTOR, told=r'absent\.png')
def absent(place: Place) -> Wrong:
    detect(place, 'absent.png')
    return Wrong('predicts something')
