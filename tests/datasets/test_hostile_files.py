"""Data sets that came from somewhere: no file outside, no program, and no bomb in the memory."""

import io
import json
import os
import shutil
import struct
import zlib
from functools import partial

import cv2
import kornia_rs
import mmcv
import pytest
from cmt_deeplab.coco_format import path_below
from cmt_deeplab.datasets.shape_forms import STUFF_CLASSES, THING_CLASSES
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders
from cmt_deeplab.image_file import BadImage, read_header
from mmdet.registry import DATASETS, METRICS, TRANSFORMS
from PIL import EpsImagePlugin, Image

OUTSIDE = [
    *('../{}', 'a/../../{}', '/{}', '..\\{}', '\\{}', 'C:\\{}'),
    *('https://example.org/{}', 's3://bucket/{}'),
]
META = dict(thing_classes=THING_CLASSES, stuff_classes=STUFF_CLASSES)
META['classes'] = META['thing_classes'] + META['stuff_classes']


@pytest.fixture
def root(shapes_root, tmp_path):
    return shutil.copytree(shapes_root, tmp_path / 'shapes')


def build(root, kind='ShapesPanopticDataset', **options):
    config = dict(
        type=kind,
        data_root=str(root),
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap')],
    )
    return DATASETS.build(config | options)


def rename(root, part, pattern):
    """Give the last image, or the last annotation, a "file_name" of the pattern; its JSON."""
    path = root / 'annotations/panoptic_train2017.json'
    content = json.loads(path.read_text())
    content[part][-1]['file_name'] = pattern.format(content[part][-1]['file_name'])
    path.write_text(json.dumps(content))
    return path


def refused(call, *words):
    with pytest.raises(UserError, match='which leads out of the folder') as error:
        call()
    text = str(error.value)
    assert all(word in text for word in words) and '\n' not in text and text.endswith('.')


def test_names_stay_in_the_folder(root):
    """Also where the file exists, as beside the folders of the images and the PNGs."""
    for file in [*(root / 'train2017').iterdir(), *(root / 'annotations').glob('*/*.png')]:
        shutil.copy(file, file.parents[1])
    path = root / 'annotations/panoptic_train2017.json'
    whole = path.read_text()
    for part in ('images', 'annotations'):
        for pattern in OUTSIDE:
            rename(root, part, pattern)
            skip = pattern == '../{}'
            refused(partial(build, root, skip_faulty_images=skip), str(path), 'data_prefix')
            path.write_text(whole)


def test_names_of_mmdets_data_sets_stay_too(root):
    path = rename(root, 'images', '../{}')
    refused(partial(build, root, 'CocoPanopticDataset', metainfo=META, pipeline=[]), str(path))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(content, annotations=[])))
    refused(partial(build, root, 'CocoDataset', pipeline=[], test_mode=True), str(path))


def test_names_of_evaluations_stay_too(root):
    path = rename(root, 'annotations', '../{}')
    whole = root / 'whole.json'
    content = json.loads(path.read_text())
    content['annotations'][-1]['file_name'] = content['annotations'][-1]['file_name'][3:]
    whole.write_text(json.dumps(content))
    shutil.copy(path.with_suffix('') / content['annotations'][-1]['file_name'], path.parent)
    folder = str(path.with_suffix(''))
    for api in (False, True):
        for sides in ((path, whole), (whole, path)):
            truth, guess = map(str, sides)
            options = dict(as_panopticapi=api, warn=str)
            call = partial(evaluate_folders, truth, folder, guess, folder, **options)
            refused(call, str(path))
    metric = METRICS.build(
        dict(type='PanopticQualityMetric', ann_file=str(path), seg_prefix=folder)
    )
    metric.dataset_meta = META
    sample = dict(img_id=content['annotations'][-1]['image_id'], ori_shape=(96, 96))
    refused(partial(metric.check_sample, sample), str(path))


def test_without_a_folder_every_path_will_do(root):
    """As in lists of images that lie in many places."""
    path = root / 'annotations/panoptic_train2017.json'
    content = json.loads(path.read_text())
    for part, folder in (('images', 'train2017'), ('annotations', path.with_suffix('').name)):
        for entry in content[part]:
            place = root if part == 'images' else path.parent
            entry['file_name'] = f'{place}/../{place.name}/{folder}/{entry["file_name"]}'
    path.write_text(json.dumps(content))
    options = dict(data_root='', ann_file=str(path), data_prefix=dict(img='', seg=''))
    assert len(build(root, **options)) == 12
    assert len(build(root, 'CocoPanopticDataset', metainfo=META, **options | dict(pipeline=[])))
    rename(root, 'images', 's3:/{}')
    refused(partial(build, root, **options), str(path))


@pytest.mark.parametrize(
    'folder, make',
    [
        ('train2017', partial(os.symlink, '/dev/zero')),
        ('annotations/panoptic_train2017', os.mkfifo),
    ],
)
def test_what_has_no_end_is_not_read(folder, make, root):
    dataset, file = build(root), root / folder / '000000000001.png'
    file.unlink()
    make(file)
    with pytest.raises(UserError, match=rf'{file}\b.* cannot be read \(.*it is no file'):
        dataset[0]
    assert len(build(root, skip_faulty_images=True)) == 11
    with pytest.raises(UserError, match=f'There is no file {file}, although'):
        build(root)


def test_a_name_with_control_characters_is_written_out(root):
    path = rename(root, 'images', '\n\x1b[31m\ud800{}')
    with pytest.raises(UserError, match=r'train2017/\\n\\x1b\[31m\\ud8000'):
        build(root)
    assert r'\n\x1b[31m\ud800' in build(root, skip_faulty_images=True).skipped_images[0], path


def test_links_and_ordinary_names_stay_usable(root, tmp_path):
    (root / 'train2017').rename(tmp_path / 'elsewhere')
    (root / 'train2017').symlink_to(tmp_path / 'elsewhere')
    assert len(build(root)) == 12
    for name in ('a/b.png', 'a..b.png', '..a/b.png', 'a b:c.png', '.hidden', 'ü/ß.png'):
        assert path_below('/data', name, 'x.json') == f'/data/{name}'


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 30
%%EndComments
showpage
%%EOF
"""


def png_of(size, kind=b'IHDR'):
    """A PNG that names a size in its header and has no pixels."""
    header = kind + struct.pack('>IIBBBBB', *size[::-1], 8, 2, 0, 0, 0)
    end = b'IEND'
    chunks = (header, b'IDAT' + zlib.compress(b''), end)
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(c) - 4) + c + struct.pack('>I', zlib.crc32(c)) for c in chunks
    )


def test_no_image_starts_a_program(tmp_path, monkeypatch, root):
    started = []
    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *args, **options: started.append(1))
    path = tmp_path / 'image.jpg'
    path.write_bytes(POSTSCRIPT)
    for backend in ('cv2', 'pillow'):
        load = TRANSFORMS.build(dict(type='LoadImageFromFile', imdecode_backend=backend))
        with pytest.raises(UserError, match=r'image\.jpg is not an image'):
            load(dict(img_path=str(path)))
    with pytest.raises(UserError, match='is not an image'):
        mmcv.imread(str(path), backend='pillow')
    with pytest.raises(UserError, match='is not an image'):
        TRANSFORMS.build(
            dict(type='LoadAnnotations', with_bbox=False, with_label=False, with_seg=True)
            | dict(imdecode_backend='pillow')
        )(dict(seg_map_path=str(path)))
    for folder in ('train2017', 'annotations/panoptic_train2017'):
        file = sorted((root / folder).iterdir())[-1]
        whole = file.read_bytes()
        file.write_bytes(POSTSCRIPT)
        with pytest.raises(UserError, match=f'{file} is not an image'):
            build(root)
        file.write_bytes(whole)
    assert not started


def one_color(kind, side=500, **options):
    stream = io.BytesIO()
    Image.new('RGB', (side, side), (1, 0, 0)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def decoded(monkeypatch):
    """The sizes in bytes of what OpenCV and kornia-rs decode from here on."""
    sizes = []

    def counting(decode, *arguments):
        image = decode(*arguments)
        sizes.append(0 if image is None else image.nbytes)
        return image

    for library, name in ((cv2, 'imdecode'), (kornia_rs.io, 'decode_image_png_u8')):
        monkeypatch.setattr(library, name, partial(counting, getattr(library, name)))
    return sizes


@pytest.mark.parametrize('folder', ['train2017', 'annotations/panoptic_train2017'])
def test_sizes_are_compared_before_decoding(folder, root, decoded):
    """By the loader of an image or of a PNG, which may have come after the check of all files."""
    dataset = build(root)
    file = sorted((root / folder).iterdir())[0]
    decoded.clear()
    for kind in ('PNG', 'JPEG', 'TIFF', 'WEBP', 'GIF', 'BMP'):
        file.write_bytes(one_color(kind))
        with pytest.raises(UserError, match='500 x 500 pixels but|is a JPEG'):
            dataset[0]
    assert max(decoded, default=0) <= 3 * 96 * 96


def test_mmdets_loader_compares_them_too(root, decoded):
    dataset = build(root, 'CocoPanopticDataset', metainfo=META, pipeline=[])
    info = dataset[0]
    load = TRANSFORMS.build(dict(type='LoadPanopticAnnotations', with_bbox=False, with_label=False))
    assert load(dict(info, ori_shape=(96, 96)))['gt_seg_map'].shape == (96, 96)
    decoded.clear()
    (root / 'annotations/panoptic_train2017/000000000001.png').write_bytes(one_color('PNG'))
    with pytest.raises(UserError, match='500 x 500 pixels but'):
        load(dict(info, ori_shape=(96, 96)))
    assert not decoded


@pytest.mark.parametrize('api', [False, True])
def test_evaluations_compare_them_too(api, root, tmp_path, decoded):
    truth = root / 'annotations/panoptic_train2017'
    guess = shutil.copytree(truth, tmp_path / 'guess')
    (guess / '000000000003.png').write_bytes(one_color('PNG'))
    json_file = f'{truth}.json'
    with pytest.raises(UserError, match='500 x 500 pixels but its ground truth'):
        evaluate_folders(json_file, str(truth), json_file, str(guess), as_panopticapi=api)
    metric = METRICS.build(
        dict(type='PanopticQualityMetric', ann_file=json_file, seg_prefix=str(guess))
    )
    metric.dataset_meta = META
    with pytest.raises(UserError, match='its ground truth is 500 x 500'):
        metric.check_sample(dict(img_id=3, ori_shape=(96, 96)))
    assert max(decoded) == 3 * 96 * 96


def test_images_without_a_known_size_have_a_limit(tmp_path, decoded):
    path = tmp_path / 'image.png'
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    for size in ((60000, 60000), (10, 1 << 27)):
        path.write_bytes(png_of(size))
        with pytest.raises(UserError, match='has more than 178956970 pixels') as error:
            load(dict(img_path=str(path)))
        assert str(path) in str(error.value) and not decoded
    for size in ((4000, 6000), (6000, 8000)):
        assert read_header(png_of(size)).size == size


def test_a_text_that_unpacks_is_no_image():
    """Pillow refuses texts of a PNG that grow, and so does the header."""
    text = b'zTXta\0\0' + zlib.compress(bytes(1 << 26))
    chunk = struct.pack('>I', len(text) - 4) + text + struct.pack('>I', zlib.crc32(text))
    data = png_of((30, 40))
    with pytest.raises(BadImage):
        read_header(data[:33] + chunk + data[33:])
