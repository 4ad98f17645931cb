"""The door of the pipelines: arrays and files are right, or refused in one sentence."""

import io
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.datasets import PackPanopticInputs, PanopticColorJitter
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.models.data_preprocessor import PanopticDataPreprocessor
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from PIL import Image

RNG = np.random.default_rng(0)
BGR = cv2.resize(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), (40, 30))
RGB = np.ascontiguousarray(BGR[..., ::-1])
GRAY = cv2.cvtColor(BGR, cv2.COLOR_BGR2GRAY)
WHITE = np.full((30, 40, 3), 255, np.uint8)


def load(**given):
    """What mmdet's inference API does with a path or an array, one loader after the other."""
    images = []
    for name in ('LoadImageFromFile', 'mmdet.LoadImageFromNDArray', 'mmdet.InferencerLoader'):
        images.append(TRANSFORMS.build(dict(type=name))(dict(given))['img'])
    assert all(image is not None and np.array_equal(image, images[0]) for image in images)
    return images[0]


REFUSED = {
    'gray': (GRAY, r'shape \(30, 40\) .*COLOR_GRAY2BGR'),
    'one channel': (GRAY[..., None], 'COLOR_GRAY2BGR'),
    'two channels': (BGR[..., :2], r'shape \(30, 40, 2\)'),
    'alpha': (np.dstack([BGR, GRAY]), r'image\[\.\.\., :3\]'),
    'channels first': (BGR.transpose(2, 0, 1), r'image\.transpose\(1, 2, 0\)'),
    'batch': (BGR[None], 'give a list of images'),
    'no rows': (BGR[:0], r'shape \(0, 40, 3\)'),
    'no columns': (BGR[:, :0], r'shape \(30, 0, 3\)'),
    'a number': (np.array(3), r'shape \(\)'),
    'flat': (BGR.ravel(), r'shape \(3600,\)'),
    'uint16': (BGR.astype(np.uint16) * 257, 'type uint16'),
    'int32': (BGR.astype(np.int32), 'type int32'),
    'int64': (BGR.astype(np.int64), 'type int64'),
    'bool': (BGR > 99, 'type bool'),
    'object': (BGR.astype(object), 'type object'),
    'float16': (BGR.astype(np.float16), 'type float16'),
    '0 to 1': (BGR.astype(np.float32) / 255, 'values from 0'),
    '-1 to 1': (BGR.astype(np.float32) / 127.5 - 1, 'values from -1 to '),
    '16 bits as float': (BGR.astype(np.float32) * 257, 'to 6'),
    'nan': (np.where(BGR > 99, np.nan, BGR), 'nan'),
    'inf': (np.where(BGR > 99, np.inf, BGR), 'to inf'),
    'tensor': (torch.from_numpy(BGR), 'given as Tensor'),
    'PIL': (Image.fromarray(RGB), r"np\.array\(image\.convert\('RGB'\)\)"),
    'numbers': (BGR[:2, :2].tolist(), 'given as list'),
    'None': (None, 'given as NoneType'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_arrays_that_are_no_image(name):
    given, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as error:
        load(img=given)
    text = str(error.value)
    assert 'values from 0 to 255' in text and '\n' not in text and text.endswith('.')


def test_arrays_that_are_an_image():
    read_only = BGR.copy()
    read_only.setflags(write=False)
    large = np.repeat(BGR, 2, 1)[:, ::2]
    for image in (BGR, RGB[..., ::-1], np.asfortranarray(BGR), read_only, large):
        packed = PackPanopticInputs()(dict(img=load(img=image)))['inputs']
        assert torch.equal(packed, torch.from_numpy(BGR).permute(2, 0, 1))
    for kind in (np.float32, np.float64):
        assert load(img=BGR.astype(kind)).dtype == kind
        assert load(img=np.zeros_like(BGR, kind)).max() == 0  # dark, not scaled to 0..1
    gray = TRANSFORMS.build(dict(type='mmdet.LoadImageFromNDArray', color_type='grayscale'))
    assert gray(dict(img=GRAY))['img'] is GRAY


def pil_file(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def of_16_bits(image, factor=257, kind='.png'):
    return cv2.imencode(kind, image.astype(np.uint16) * factor)[1].tobytes()


PICTURE = Image.fromarray(RGB)
ALPHA = Image.fromarray(np.dstack([RGB, GRAY]))
FRAMES = dict(save_all=True, append_images=[Image.fromarray(WHITE)])
RIGHT = {  # the bytes of a file, and what it shows
    'gray PNG': (pil_file(PICTURE.convert('L'), 'PNG'), PICTURE.convert('L')),
    'palette PNG': (pil_file(PICTURE.convert('P'), 'PNG'), PICTURE.convert('P')),
    'one bit PNG': (pil_file(PICTURE.convert('1'), 'PNG'), PICTURE.convert('1')),
    'gray and alpha PNG': (pil_file(ALPHA.convert('LA'), 'PNG'), ALPHA.convert('LA')),
    'RGBA PNG': (pil_file(ALPHA, 'PNG'), PICTURE),
    'animated PNG': (pil_file(PICTURE, 'PNG', **FRAMES), PICTURE),
    '16 bit gray PNG': (of_16_bits(GRAY), Image.fromarray(GRAY)),
    '16 bit PNG': (of_16_bits(BGR), PICTURE),
    '16 bit TIFF': (of_16_bits(BGR, kind='.tiff'), PICTURE),
    'TIFF': (pil_file(PICTURE, 'TIFF'), PICTURE),
    'BMP': (pil_file(PICTURE, 'BMP'), PICTURE),
    'WebP': (pil_file(PICTURE, 'WEBP', lossless=True), PICTURE),
    'animated WebP': (pil_file(PICTURE, 'WEBP', lossless=True, **FRAMES), PICTURE),
    'JPEG': (pil_file(PICTURE, 'JPEG'), None),
    'gray JPEG': (pil_file(PICTURE.convert('L'), 'JPEG'), None),
    'progressive JPEG': (pil_file(PICTURE, 'JPEG', progressive=True), None),
    'CMYK JPEG': (pil_file(PICTURE.convert('CMYK'), 'JPEG', quality=98), PICTURE),
}


@pytest.mark.parametrize('name', RIGHT)
def test_kinds_of_image_files(name, tmp_path):
    data, shown = RIGHT[name]
    path = tmp_path / 'image'
    path.write_bytes(data)
    image = load(img_path=str(path))
    expected = np.asarray((shown or Image.open(path)).convert('RGB'))[..., ::-1]
    assert image.dtype == np.uint8 and image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= 6 * (name == 'CMYK JPEG')  # compressed
    assert np.array_equal(image, cv2.imread(str(path)))


UNREADABLE = {
    '12 bits in 16': (of_16_bits(BGR, 16), 'values end at 3984, which is nearly black'),
    '14 bits in 16': (of_16_bits(GRAY, 64), 'nearly black'),
    'float TIFF': (pil_file(Image.fromarray(GRAY.astype(np.float32)), 'TIFF'), '32 bits per color'),
    '32 bit TIFF': (pil_file(Image.fromarray(GRAY.astype(np.int32)), 'TIFF'), '32 bits per color'),
    'float color TIFF': (cv2.imencode('.tif', BGR / np.float32(1))[1].tobytes(), 'a TIFF of an un'),
    'float HDR': (cv2.imencode('.hdr', BGR / np.float32(255))[1].tobytes(), 'is not an image'),
    'half a JPEG': (pil_file(PICTURE, 'JPEG')[:400], 'is truncated or damaged'),
    'half a PNG': (pil_file(PICTURE, 'PNG')[:400], 'is truncated or damaged'),
    'text': (b'<html>', 'is not an image'),
    'nothing': (b'', 'is empty'),
}


@pytest.mark.parametrize('name', UNREADABLE)
def test_image_files_that_are_refused(name, tmp_path):
    data, message = UNREADABLE[name]
    path = tmp_path / 'image.png'
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        load(img_path=str(path))
    assert str(error.value).startswith(f'The image {path} ') and '\n' not in str(error.value)
    assert (
        TRANSFORMS.build(dict(type='LoadImageFromFile', ignore_empty=True))(
            dict(img_path=str(path))
        )
        is None
    )


def test_all_values_of_16_bits(tmp_path):
    for kind in ('.png', '.tiff'):
        path = str(tmp_path / f'image{kind}')
        cv2.imwrite(path, RNG.integers(0, 1 << 16, (30, 40, 3)).astype(np.uint16))
        assert np.array_equal(load(img_path=path), cv2.imread(path))
    path = str(tmp_path / 'gray.png')
    cv2.imwrite(path, GRAY.astype(np.uint16) * 16)
    for kind in ('grayscale', 'color_ignore_orientation'):
        with pytest.raises(UserError, match='nearly black: scale its values to 0..255'):
            TRANSFORMS.build(dict(type='LoadImageFromFile', color_type=kind))(dict(img_path=path))


def test_paths_that_are_refused(tmp_path):
    with pytest.raises(UserError, match='cannot be read'):
        load(img_path='a\0b')
    with pytest.raises(MissingFileError, match='does not exist'):
        load(img_path=str(tmp_path / 'nothing.jpg'))
    with pytest.raises(UserError, match='cannot be read'):
        load(img_path=str(tmp_path))
    for given in (b'bytes', 7, BGR, [str(tmp_path)], None):
        with pytest.raises(UserError, match=f'given as {type(given).__name__}'):
            load(img_path=given)


def test_a_16_bit_image_read_as_it_is():
    loader = TRANSFORMS.build(dict(type='mmdet.LoadImageFromNDArray', color_type='unchanged'))
    with pytest.raises(UserError, match='type uint16'):
        loader(dict(img=BGR.astype(np.uint16)))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(color_type='rgb'), "has color_type='rgb': give one of 'color'"),
        (dict(imdecode_backend='turbojpeg'), "with imdecode_backend='turbojpeg'"),
        (dict(backend_args=dict(backend='disk')), 'cannot be read .* or backend_args'),
        (dict(imdecode_backend='pil'), "with imdecode_backend='pil'"),
    ],
)
def test_settings_of_the_loader_that_are_refused(options, message, tmp_path):
    cv2.imwrite(str(tmp_path / 'image.png'), BGR)
    loader = TRANSFORMS.build(dict(type='LoadImageFromFile', **options))
    with pytest.raises(UserError, match=message):
        loader(dict(img_path=str(tmp_path / 'image.png')))


def test_settings_of_the_loader(tmp_path):
    path = str(tmp_path / 'image.png')
    cv2.imwrite(path, BGR)
    for options in (
        dict(imdecode_backend='pillow'),
        dict(color_type='unchanged'),
        dict(color_type='color_ignore_orientation'),
        dict(backend_args=dict(backend='local')),
        dict(file_client_args=dict(backend='disk')),
        dict(to_float32=True),
    ):
        loader = TRANSFORMS.build(dict(type='LoadImageFromFile', **options))
        results = loader(dict(img_path=path))
        assert np.array_equal(results['img'], BGR) and results['ori_shape'] == (30, 40)
    assert results['img'].dtype == np.float32


IMAGE = torch.from_numpy(np.ascontiguousarray(BGR.transpose(2, 0, 1)))
TENSORS = {
    'int64': (IMAGE.long(), r'torch\.int64'),
    'uint16': (IMAGE.to(torch.uint16), r'torch\.uint16'),
    'bool': (IMAGE > 99, r'torch\.bool'),
    'array': (BGR, 'of the type ndarray'),
    'channels last': (IMAGE.permute(1, 2, 0), r'shape \(30, 40, 3\)'),
    'gray': (IMAGE[:1], r"color_type='color'"),
    'two axes': (IMAGE[0], r'shape \(30, 40\)'),
    'batch': (IMAGE[None], r'shape \(1, 3, 30, 40\)'),
    'empty': (IMAGE[:, :0], r'shape \(3, 0, 40\)'),
    '0 to 1': (IMAGE / 255, 'values from 0'),
    'normalized': (IMAGE / 127.5 - 1, 'values from -1 to '),
    'less the mean': (IMAGE - 117.0, 'values from -11'),
    'nan': (IMAGE.float().masked_fill(IMAGE > 99, float('nan')), 'nan'),
}


@pytest.mark.parametrize('name', TENSORS)
def test_tensors_that_are_no_image(name):
    """They come from a pipeline with transforms of another, or from the user's own code."""
    image, message = TENSORS[name]
    preprocessor = PanopticDataPreprocessor(align_corners=True)
    for images in [[image], [IMAGE, image]]:
        with pytest.raises(UserError, match=message) as error:
            preprocessor(dict(inputs=images))
        assert '\n' not in str(error.value)


def test_tensors_that_are_an_image():
    preprocess = PanopticDataPreprocessor(align_corners=True)
    expected = preprocess(dict(inputs=[IMAGE]))['inputs']
    for images in ([IMAGE.float()], IMAGE[None], [IMAGE.double()], [IMAGE.half()]):
        assert torch.equal(preprocess(dict(inputs=images))['inputs'], expected)
    preprocess(dict(inputs=[torch.zeros(3, 9, 9), IMAGE / 100]))  # dark all over, resized
    distorted = IMAGE.float() * 1.5 - 200  # as PhotoMetricDistortion leaves colors in training
    preprocess(dict(inputs=[distorted, IMAGE / 300]), training=True)
    as_they_are = partial(PanopticDataPreprocessor, align_corners=True, mean=[0] * 3, std=[1] * 3)
    as_they_are()(dict(inputs=[IMAGE / 255]))
    with pytest.raises(UserError, match='not finite'):
        preprocess(dict(inputs=[IMAGE / torch.zeros(())]), training=True)


def test_a_float_image_is_resized_for_plain_images(tmp_path):
    pipeline = Compose([dict(type='LoadImageFromFile'), dict(type='PanopticResize')])
    cv2.imwrite(str(tmp_path / 'image.png'), BGR)
    results = pipeline(dict(img_path=str(tmp_path / 'image.png')))
    sample = PackPanopticInputs()(results)
    preprocess = PanopticDataPreprocessor(align_corners=True, size=(65, 65))
    means = []
    for image in (sample['inputs'], sample['inputs'].half()):
        batch = dict(inputs=[image], data_samples=[sample['data_samples']])
        means.append(preprocess(batch)['inputs'])
    torch.testing.assert_close(*means, atol=0.01, rtol=0)


def test_images_of_other_types_in_a_pipeline():
    preprocess = PanopticDataPreprocessor(align_corners=True)
    for kind in (np.int64, bool, np.longdouble):  # versions of OpenCV take some of them
        with pytest.raises(UserError, match=r'the type \S+, but the model reads'):
            packed = PackPanopticInputs()(dict(img=BGR.astype(kind)))
            preprocess(dict(inputs=[packed['inputs']]))
    truth = dict(gt_index_map=np.full_like(GRAY, -1, np.int16), gt_segments_info=[], num_classes=1)
    packed = PackPanopticInputs()(dict(truth, img=Image.fromarray(BGR)))
    assert torch.equal(packed['inputs'], torch.from_numpy(BGR).permute(2, 0, 1))


@pytest.mark.parametrize(
    'name', ['PanopticResize', 'PanopticLargeScaleJitter', 'PanopticColorJitter']
)
def test_a_pipeline_that_loads_no_image(name):
    with pytest.raises(UserError, match=f'{name} finds no image: put LoadImageFromFile before it'):
        TRANSFORMS.build(dict(type=name))(dict(image_size=(9, 9)))


def test_the_color_jitter_names_what_it_cannot_change():
    for image in (BGR.astype(np.float32), GRAY):
        with pytest.raises(UserError, match='PanopticColorJitter finds an image of the shape'):
            PanopticColorJitter()(dict(img=image))
