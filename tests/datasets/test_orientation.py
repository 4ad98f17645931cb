"""Images that their EXIF data turn: right, or refused, but never beside their planes."""

import io
import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from cmt_deeplab.coco_format import colors_of_ids, read_id_plane
from cmt_deeplab.errors import UserError
from mmdet.registry import DATASETS
from PIL import Image

RNG = np.random.default_rng(0)
RGB = cv2.resize(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), (40, 30))
IDS = np.repeat(np.arange(1, 7), 5)[:, None] + np.zeros((1, 40), int)  # (30, 40)


def picture(rgb, kind='JPEG', orientation=1, **options):
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    if kind == 'MPO':
        options = dict(save_all=True, append_images=[Image.fromarray(np.ascontiguousarray(rgb))])
    if kind == 'TIFF':
        options['tiffinfo'] = {0x0112: orientation}
    Image.fromarray(rgb).save(stream, kind, exif=exif.tobytes(), **options)
    return stream.getvalue()


def exif_behind_pixels(orientation):
    """A PNG whose chunk of EXIF data stands at its end."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    chunk = b'eXIf' + exif.tobytes().removeprefix(b'Exif\0\0')
    data = picture(RGB, 'PNG', 1)
    start = data.index(b'eXIf') - 4
    data = data[:start] + data[start + 12 + struct.unpack('>I', data[start : start + 4])[0] :]
    whole = struct.pack('>I', len(chunk) - 4) + chunk + struct.pack('>I', zlib.crc32(chunk))
    return data[:-12] + whole + data[-12:]


def data_set(root, image, ids=IDS, *, loader=(), **options):
    """A data set of an image, beside a plane and a size that are those of ``ids``, and two more."""
    segments = [dict(id=i, category_id=1, iscrowd=0, area=200) for i in np.unique(ids).tolist()]
    images, annotations = [], []
    for k, (data, plane) in enumerate([(image, ids), *[(picture(RGB), IDS)] * 2], 1):
        for folder in ('images', 'truth'):
            (root / folder).mkdir(exist_ok=True)
        (root / f'images/{k}').write_bytes(data)
        Image.fromarray(np.ascontiguousarray(colors_of_ids(plane))).save(root / f'truth/{k}.png')
        images.append(dict(id=k, file_name=str(k), height=len(plane), width=plane.shape[1]))
        annotations.append(dict(image_id=k, file_name=f'{k}.png', segments_info=segments))
    categories = [dict(id=1, name='person', isthing=1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'truth.json').write_text(json.dumps(content))
    return DATASETS.build(
        dict(
            type='PanopticIndexDataset',
            ann_file=str(root / 'truth.json'),
            data_prefix=dict(img=str(root / 'images'), seg=str(root / 'truth')),
            pipeline=[
                dict(type='LoadImageFromFile', **dict(loader)),
                dict(type='LoadPanopticIndexMap'),
            ],
            **options,
        )
    )


SQUARE = RGB[:, :30]
UNTOLD = {  # the image, and the plane beside it
    **{f'JPEG {k}': (picture(RGB, 'JPEG', k), IDS) for k in (2, 3, 4)},
    **{f'square JPEG {k}': (picture(SQUARE, 'JPEG', k), IDS[:, :30]) for k in (5, 6, 7, 8)},
    'stored JPEG': (picture(RGB, 'JPEG', 6), IDS),
    'PNG': (picture(RGB, 'PNG', 3), IDS),
    'PNG at the end': (exif_behind_pixels(3), IDS),
    'TIFF': (picture(RGB, 'TIFF', 3), IDS),
    'WebP': (picture(RGB, 'WEBP', 3), IDS),
    'JPEGs of a telephone': (picture(RGB, 'MPO', 6), IDS),
}


@pytest.mark.parametrize('name', UNTOLD)
def test_a_plane_that_may_lie_otherwise_is_refused(name, tmp_path):
    image, ids = UNTOLD[name]
    with pytest.raises(UserError, match='images/1 has the EXIF orientation') as error:
        data_set(tmp_path, image, ids)
    text = str(error.value)
    assert 'without an orientation' in text and "color_type='color_ignore_orientation'" in text
    assert '\n' not in text and text.endswith('.')


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
@pytest.mark.parametrize('kind', ['JPEG', 'MPO'])
def test_a_plane_of_the_turned_sides_suits_the_turned_image(kind, orientation, tmp_path):
    dataset = data_set(tmp_path, picture(RGB, kind, orientation), IDS.T)
    assert dataset[0]['img'].shape[:2] == dataset[0]['gt_index_map'].shape == (40, 30)


@pytest.mark.parametrize('orientation', range(2, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_the_orientation_can_be_ignored(kind, orientation, tmp_path):
    loader, image = dict(color_type='color_ignore_orientation'), picture(RGB, kind, orientation)
    dataset = data_set(tmp_path, image, loader=loader, skip_faulty_images=orientation == 3)
    assert len(dataset) == 3 and dataset[0]['gt_index_map'].shape == (30, 40)
    expected = dataset[1]['img'] if kind == 'JPEG' else RGB[..., ::-1]
    assert np.array_equal(dataset[0]['img'], expected)


def test_what_is_read_unchanged_is_as_it_is_stored(tmp_path):
    dataset = data_set(tmp_path, picture(RGB, 'PNG', 3), loader=dict(color_type='unchanged'))
    assert np.array_equal(dataset[0]['img'], RGB[..., ::-1])


def test_such_an_image_is_left_out_by_name(tmp_path):
    dataset = data_set(tmp_path, picture(RGB, 'JPEG', 3), skip_faulty_images=True)
    (sentence,) = dataset.skipped_images
    assert len(dataset) == 2 and 'images/1 has the EXIF orientation 3' in sentence


@pytest.mark.parametrize('data', [picture(RGB, 'PNG', 6), exif_behind_pixels(6)])
def test_a_plane_is_read_as_it_is_stored(data, tmp_path):
    """So does panopticapi."""
    path = tmp_path / 'truth.png'
    path.write_bytes(data)
    assert np.array_equal(colors_of_ids(read_id_plane(str(path))), RGB)
