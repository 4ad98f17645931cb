"""The one reader of COCO panoptic JSONs: one rule per field, and files of other kinds by name."""

import gzip
import json

import pytest
from cmt_deeplab.errors import UserError
from cmt_deeplab.panoptic_json import read_panoptic_json

ALL = ('images', 'categories', 'annotations')


def content(**changes):
    """A JSON of one image with one segment; ``changes`` are of lists, or of the fields of entries.

    ``segment_area=3`` is the field "area" of the segment.
    """
    segment = dict(id=7, category_id=3, iscrowd=0, area=12, bbox=[0, 0, 4, 3])
    parts = dict(
        image=dict(id=1, file_name='1.jpg', height=3, width=4),
        category=dict(id=3, name='cat', isthing=1, color=[220, 20, 60]),
        annotation=dict(image_id=1, file_name='1.png', segments_info=[segment]),
        segment=segment,
    )
    lists = {}
    for key, value in changes.items():
        part, _, field = key.partition('_')
        if part in parts:
            parts[part][field] = value
        else:
            lists[key] = value
    return dict(
        dict(
            images=[parts['image']],
            categories=[parts['category'], dict(id=4, name='sky', isthing=0)],
            annotations=[parts['annotation']],
        ),
        **lists,
    )


@pytest.fixture
def read(tmp_path):
    def function(data, **options):
        path = tmp_path / 'panoptic.json'
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return read_panoptic_json(str(path), **dict(dict(needs=ALL), **options))

    return function


@pytest.mark.parametrize(
    'changes',
    [
        dict(category_isthing=True),
        dict(segment_iscrowd=True),
        dict(segment_area=0.5),
        dict(segment_area=-4),
        dict(segment_area=10**30),
        dict(segment_bbox=[]),
        dict(segment_bbox='none'),
        dict(category_id=0, segment_category_id=0),
        dict(segment_id=2**24 - 1),
        dict(image_id='a/1', annotation_image_id='a/1'),
        dict(category_color=[0, 0, 0]),
        dict(info=None, licenses=3),
    ],
)
def test_what_is_right_is_read(read, changes):
    assert read(content(**changes)) == content(**changes)
    text = json.dumps(content(**changes))
    assert read(text.encode('utf-8-sig')) == read(text.encode('utf-16')) == content(**changes)


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(category_isthing='1'), '"id" 3 whose "isthing" is \'1\' .str.*0, 1, true or false'),
        (dict(category_isthing='0'), "is '0' .str."),
        (dict(category_isthing=2), 'is 2 .int.'),
        (dict(category_isthing=1.0), 'is 1.0 .float.'),
        (dict(category_isthing=None), 'is None .NoneType.'),
        (dict(category_color='#dc2828'), '"color" is \'#dc2828\' .str.*three whole numbers'),
        (dict(category_color=[220, 20, 60, 255]), r'is \[220, 20, 60, 255\] .list.'),
        (dict(category_color=[0.9, 0.1, 0.2]), r'is \[0.9, 0.1, 0.2\] .list.'),
        (dict(category_color=[256, 0, 0]), 'three whole numbers from 0 to 255'),
        (dict(category_color=[True, 0, 0]), 'three whole numbers from 0 to 255'),
        (dict(category_color=None), 'three whole numbers from 0 to 255'),
        (dict(category_id='3'), '"categories" has an entry whose "id" is \'3\' .str.'),
        (dict(category_id=-3), 'is -3 .int.*from 0 to 2147483647'),
        (dict(category_id=1 << 70), 'a whole number from 0 to 2147483647'),
        (dict(category_id=True), 'is True .bool.'),
        (dict(category_name=' '), '"name" is \' \' .str.*a text'),
        (dict(category_name=5), '"name" is 5 .int.'),
        (dict(image_id=1.0), '"images" has an entry whose "id" is 1.0 .float.'),
        (dict(image_id=[1]), r'is \[1\] .list.'),
        (dict(image_file_name=None), '"id" 1 whose "file_name" is None'),
        (dict(image_height=0), '"height" is 0 .int.*positive whole number of pixels'),
        (dict(image_width='4'), '"width" is \'4\' .str.'),
        (dict(image_width=4.0), '"width" is 4.0 .float.'),
        (dict(annotation_image_id=None), '"annotations" has an entry whose "image_id" is None'),
        (dict(annotation_file_name=''), '"image_id" 1 whose "file_name" is \'\' .str.'),
        (dict(annotation_segments_info={}), '"segments_info" is {} .dict.*a list'),
        (dict(segment_id='7'), 'image 1 has an entry whose "id" is \'7\' .str.'),
        (dict(segment_id=0), 'is 0 .int.*from 1 to 16777215'),
        (dict(segment_id=2**24), 'is 16777216 .int.'),
        (dict(segment_category_id=9), '"category_id" is 9 .int.*a category of the data set'),
        (dict(segment_category_id='3'), '"category_id" is \'3\' .str.'),
        (dict(segment_iscrowd=2), '"iscrowd" is 2 .int.'),
        (dict(segment_area='12'), '"area" is \'12\' .str.*a number'),
        (dict(segment_area=float('nan')), '"area" is nan .float.'),
        (dict(segment_area=float('inf')), '"area" is inf .float.'),
        (dict(categories=[]), '"category_id" is 3 .int.'),
        (dict(images=None), 'no list "images"'),
        (dict(images=[None]), '"images" has the entry None, not a dict'),
        (dict(annotation_image_id='1'), "the image ids '1' .str. and 1 .int.: write both in one"),
        (dict(annotation_image_id=2), 'has image 2, which the list "images" of .* lacks: add it'),
        (dict(annotations=[]), 'has no ground truth .*format_only=True and outfile_prefix'),
        (dict(annotations=None), 'has no ground truth'),
        (
            dict(categories=[dict(id=k, name='cat', isthing=1) for k in (3, 4)]),
            '"categories" has two entries with the "name" cat',
        ),
    ],
)
def test_a_wrong_field_is_named_with_value_and_type(read, changes, words):
    with pytest.raises(UserError, match=words) as caught:
        read(content(**changes))
    assert str(caught.value).endswith('.') and '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'data, words',
    [
        (gzip.compress(b'{}', mtime=0), 'is compressed .gzip.: unpack it first'),
        (b'PK\x03\x04..', 'is a zip archive'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'is a pointer of Git LFS'),
        (b'<!DOCTYPE html><html>', 'is a page of the web'),
        (b'', 'cannot be read as JSON'),
        (b'{"images": [', 'cannot be read as JSON'),
        ('{"name": "Straße"}'.encode('latin-1'), 'cannot be read as JSON .*in UTF-8'),
        (b'[' * 100000, 'cannot be read as JSON'),
        ([], 'holds a list, not a dict'),
        (3, 'holds a int, not a dict'),
        ([dict(image_id=1, bbox=[0, 0, 1, 1], score=0.5)], "of COCO's boxes"),
        (
            content(annotations=[dict(id=1, image_id=1, segmentation=[], bbox=[0, 0, 1, 1])]),
            "is a JSON of COCO's instances",
        ),
        (content(annotations=[dict(image_id=1, keypoints=[], segmentation=[])]), 'keypoints'),
        (content(annotations=[dict(image_id=1, caption='a cat')]), "COCO's captions"),
        (
            content(images=[dict(id=1, neg_category_ids=[])], annotations=[dict(segmentation=[])]),
            'is a JSON of LVIS',
        ),
        (dict(version='5.0', shapes=[dict(label='cat', points=[])]), 'is a JSON of labelme'),
        (dict(imgHeight=4, objects=[dict(label='car', polygon=[])]), "Cityscapes' polygons"),
        (
            dict(images=[dict(id=1)], categories=[dict(id=3, name='cat')]),
            'list of test images without ground truth .*gen_coco_panoptic_test_info.py',
        ),
    ],
)
def test_a_file_of_another_kind_is_named(read, data, words):
    with pytest.raises(UserError, match=words) as caught:
        read(data)
    assert str(caught.value).endswith('.') and '\n' not in str(caught.value)


def test_a_folder_and_an_impossible_name(tmp_path):
    for path in (tmp_path, f'{tmp_path}/\0'):
        with pytest.raises(UserError, match='cannot be read'):
            read_panoptic_json(str(path))
