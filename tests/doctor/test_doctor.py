"""The doctor finds each planted fault by its id, and nothing else."""

import json
import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.doctor import RULES, examination, examine, rules_text, run_doctor
from cmt_deeplab.doctor.examination import DEFAULT_CENTERS
from cmt_deeplab.own_data import open_data
from PIL import Image
from small_panoptic import (
    HEIGHT,
    WIDTH,
    change_json,
    folder_of,
    plane_of_ids,
    segments_of,
    write_ids,
    write_panoptic,
)

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = {'PD408'}  # the data set is small
FAULTS = {}


def plants(*ids):
    """Register a function that plants a fault, with the ids of what is found then."""

    def register(function):
        FAULTS[function.__name__] = (function, set(ids))
        return function

    return register


def image(root, number=1):
    return root / f'{"train" if number < 4 else "val"}2017/{number}.png'


def png(root, number=1):
    return root / f'annotations/panoptic_{"train" if number < 4 else "val"}2017/{number}.png'


def change_segment(root, segment_id=301, /, **fields):
    def change(content):
        for segment in content['annotations'][0]['segments_info']:
            if segment['id'] == segment_id:
                segment.update(fields)

    change_json(root, change)


def replace_plane(root, plane, number=1):
    """Write a PNG and its segments."""
    write_ids(png(root, number), plane)
    place, split = ((number - 1), 'train') if number < 4 else (number - 4, 'val')
    change_json(
        root, lambda c: c['annotations'][place].update(segments_info=segments_of(plane)), split
    )


# ---- the annotation file


@plants('PD101')
def json_is_truncated(root):
    path = root / 'annotations/panoptic_train2017.json'
    path.write_text(path.read_text()[:-20])


@plants('PD102')
def image_without_height(root):
    change_json(root, lambda c: c['images'][0].pop('height'))


@plants('PD103')
def flag_of_a_category_is_a_text(root):
    change_json(root, lambda c: c['categories'][1].update(isthing='yes'))


@plants('PD104', 'PD111')
def annotation_without_segments(root):
    change_json(root, lambda c: c['annotations'][0].pop('segments_info'))


@plants('PD105', 'PD301')
def segment_id_is_a_text(root):
    change_segment(root, id='301')


@plants('PD106')
def segment_stands_twice(root):
    change_json(
        root,
        lambda c: c['annotations'][0]['segments_info'].append(
            c['annotations'][0]['segments_info'][0]
        ),
    )


@plants('PD107')
def category_name_stands_twice(root):
    for split in ('train', 'val'):
        change_json(root, lambda c: c['categories'].append(dict(c['categories'][0], id=5)), split)


@plants('PD108')
def unknown_category(root):
    change_segment(root, category_id=77)


@plants('PD109', 'PD214')
def annotation_of_an_unlisted_image(root):
    change_json(root, lambda c: c['images'].pop(0))


@plants('PD110', 'PD215')
def no_annotation_for_validation(root):
    change_json(root, lambda c: c['annotations'].pop(), 'val')


@plants('PD111', 'PD215')
def no_annotation_for_training(root):
    change_json(root, lambda c: c['annotations'].pop())


@plants('PD112', 'PD214')
def path_leads_out(root):
    change_json(root, lambda c: c['images'][0].update(file_name='../1.png'))


@plants('PD113', 'PD214')
def two_images_of_one_file(root):
    change_json(root, lambda c: c['images'][0].update(file_name='2.png'))


@plants('PD114', 'PD405', 'PD406')
def too_many_classes(root):
    more = [dict(id=k, name=f'class {k}', isthing=1) for k in range(10, 1010)]
    for split in ('train', 'val'):
        change_json(root, lambda c: c['categories'].extend(more), split)


@plants('PD115', 'PD118')
def thing_in_one_split_stuff_in_the_other(root):
    change_json(root, lambda c: c['categories'][0].update(isthing=0), 'val')


@plants('PD116', 'PD405', 'PD406')
def names_differ_in_case(root):
    for split in ('train', 'val'):
        change_json(
            root, lambda c: c['categories'].append(dict(id=5, name='Cell', isthing=1)), split
        )


@plants('PD117')
def class_named_void(root):
    for split in ('train', 'val'):
        change_json(root, lambda c: c['categories'][3].update(name='unlabeled'), split)


@plants('PD118')
def stuff_is_split(root):
    plane = plane_of_ids()
    plane[:, :4][plane[:, :4] == 9] = 7
    replace_plane(root, np.where(plane == 7, 70000, plane))
    change_segment(root, 70000, category_id=4)


@plants('PD119')
def stuff_is_a_crowd(root):
    change_segment(root, 8, iscrowd=1)


@plants('PD120')
def image_without_segments(root):
    replace_plane(root, np.zeros((HEIGHT, WIDTH), int))


@plants('PD121')
def only_things(root):
    for split in ('train', 'val'):
        change_json(root, lambda c: [k.update(isthing=1) for k in c['categories']], split)


@plants('PD122')
def sky_is_a_thing(root):
    for split in ('train', 'val'):
        change_json(root, lambda c: c['categories'][0].update(name='sky-other-merged'), split)


# ---- headers


@plants('PD201')
def image_is_missing(root):
    image(root).unlink()


@plants('PD202', 'PD215')
def png_has_another_ending(root):
    change_json(root, lambda c: c['annotations'][0].update(file_name='1.jpg'))


@plants('PD203')
def image_is_truncated(root):
    image(root).write_bytes(image(root).read_bytes()[:1000])


@plants('PD204')
def png_is_truncated(root):
    png(root).write_bytes(png(root).read_bytes()[:-30])


@plants('PD205')
def png_is_a_jpeg(root):
    Image.open(png(root)).save(png(root), 'JPEG')


@plants('PD206')
def png_is_gray(root):
    Image.open(png(root)).convert('L').save(png(root))


@plants('PD206')
def png_has_a_palette(root):
    Image.open(png(root)).convert('P').save(png(root))


@plants('PD206')
def png_has_16_bits(root):
    cv2.imwrite(str(png(root)), plane_of_ids().astype(np.uint16))


@plants('PD207')
def image_has_another_size(root):
    Image.open(image(root)).resize((WIDTH // 2, HEIGHT // 2)).save(image(root))


@plants('PD207')
def image_lies_on_its_side(root):
    Image.open(image(root)).transpose(Image.Transpose.ROTATE_90).save(image(root))


@plants('PD208')
def png_has_another_size(root):
    Image.open(png(root)).resize((WIDTH // 2, HEIGHT // 2), Image.NEAREST).save(png(root))


@plants('PD209')
def camera_held_upside_down(root):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(image(root)).save(image(root), exif=exif)


@plants('PD210')
def image_has_16_bits(root):
    pixels = cv2.imread(str(image(root))).astype(np.uint16)
    cv2.imwrite(str(image(root)), pixels * 257)


@plants('PD211')
def image_is_gray(root):
    Image.open(image(root)).convert('L').save(image(root))


@plants('PD211')
def image_has_a_palette(root):
    Image.open(image(root)).convert('P').save(image(root))


@plants('PD212')
def image_has_alpha(root):
    Image.open(image(root)).convert('RGBA').save(image(root))


@plants('PD213', 'PD211', 'PD312', 'PD208')
def image_is_huge(root):
    Image.new('1', (6000, 5000)).save(image(root))
    change_json(root, lambda c: c['images'][0].update(height=5000, width=6000))


@plants('PD214')
def orphan_image(root):
    shutil.copy(image(root), root / 'train2017/other.png')


@plants('PD215')
def orphan_png(root):
    shutil.copy(png(root), png(root).with_name('other.png'))


# ---- pixels


@plants('PD301')
def json_lacks_a_segment(root):
    change_json(root, lambda c: c['annotations'][0]['segments_info'].pop())


@plants('PD302')
def png_lacks_a_segment(root):
    plane = plane_of_ids()
    write_ids(png(root), np.where(plane == 301, 9, plane))
    change_segment(root, 9, area=None)
    change_json(root, lambda c: [s.pop('area') for s in c['annotations'][0]['segments_info']])


@plants('PD301', 'PD302')
def png_is_of_another_release(root):
    blocks = np.arange(1000, 1024).reshape(4, 6)
    write_ids(png(root), np.kron(blocks, np.ones((12, 11), int))[:, :WIDTH])


@plants('PD303')
def png_was_compressed_as_jpeg(root):
    pixels = cv2.imread(str(png(root)))
    _, data = cv2.imencode('.jpg', pixels)
    cv2.imwrite(str(png(root)), cv2.imdecode(data, cv2.IMREAD_COLOR))


@plants('PD303')
def png_was_resized_smoothly(root):
    picture = Image.open(png(root)).resize((20, 15), Image.NEAREST)
    picture.resize((WIDTH, HEIGHT), Image.BICUBIC).save(png(root))


@plants('PD304')
def red_and_blue_are_swapped(root):
    cv2.imwrite(str(png(root)), cv2.imread(str(png(root)))[..., ::-1])


@plants('PD305')
def area_is_wrong(root):
    change_segment(root, area=5)


@plants('PD306')
def box_is_of_corners(root):
    change_segment(root, bbox=[4, 4, 16, 14])


@plants('PD210', 'PD307')
def image_of_12_bits(root):
    pixels = cv2.imread(str(image(root))).astype(np.uint16)
    cv2.imwrite(str(image(root)), pixels * 16)


@plants('PD307')
def image_of_floating_point(root):
    gray = cv2.imread(str(image(root)), cv2.IMREAD_GRAYSCALE)
    Image.fromarray(gray.astype(np.float32)).save(image(root), 'TIFF')


@plants('PD308', 'PD309')
def background_is_void(root):
    for number in (1, 2, 3):
        plane = plane_of_ids()
        plane[:40][plane[:40] < 10] = 0
        replace_plane(root, plane, number)


@plants('PD309')
def one_image_is_void(root):
    plane = plane_of_ids()
    plane[: HEIGHT // 2 + 8, :] = 0
    replace_plane(root, plane)


@plants('PD310')
def a_segment_is_tiny(root):
    plane = plane_of_ids()
    plane[plane == 70000] = 9
    plane[33, 9] = 70000
    replace_plane(root, plane)


@plants('PD311')
def all_cells_are_one_segment(root):
    for number in (1, 2, 3):
        plane = plane_of_ids()
        plane[plane == 302] = 8
        plane[plane == 301] = 9
        for top in (2, 16, 36):
            plane[top : top + 6, 4:10] = plane[top : top + 6, 40:46] = 301
        replace_plane(root, plane, number)


@plants('PD312')
def image_is_blank(root):
    Image.new('RGB', (WIDTH, HEIGHT), (7, 7, 7)).save(image(root))


# ---- the whole


@plants('PD401')
def image_in_both_splits(root):
    shutil.copy(image(root, 1), image(root, 5))


@plants('PD402')
def nearly_the_same_image_in_both_splits(root):
    smooth = np.random.default_rng(3).integers(0, 256, (12, 16, 3), np.uint8)
    smooth = cv2.resize(smooth, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(image(root, 1)), smooth)
    cv2.imwrite(str(image(root, 5)), smooth + (smooth < 250))


@plants('PD403')
def image_twice_in_a_split(root):
    shutil.copy(image(root, 1), image(root, 2))


@plants('PD404')
def one_name_in_both_splits(root):
    image(root, 5).rename(image(root, 5).with_name('1.png'))
    change_json(root, lambda c: c['images'][1].update(file_name='1.png'), 'val')


@plants('PD405')
def class_without_example_in_training(root):
    for number in (1, 2, 3):
        plane = plane_of_ids()
        replace_plane(root, np.where(plane == 70000, 9, plane), number)


@plants('PD406')
def class_without_example_in_validation(root):
    for number in (4, 5):
        plane = plane_of_ids()
        replace_plane(root, np.where(plane == 70000, 9, plane), number)


@plants('PD409')
def no_validation(root):
    for path in (root / 'annotations').glob('panoptic_val*'):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope='session')
def sound_root(tmp_path_factory):
    return write_panoptic(tmp_path_factory.mktemp('doctor') / 'data')


@pytest.fixture
def root(sound_root, tmp_path):
    return shutil.copytree(sound_root, tmp_path / 'data')


def ids(findings):
    return {finding.id for finding in findings}


def test_nothing_is_wrong_with_sound_data(sound_root):
    assert ids(examine(folder_of(sound_root))) == ALWAYS


@pytest.mark.parametrize('name', FAULTS)
def test_a_planted_fault_is_found(name, root):
    plant, expected = FAULTS[name]
    plant(root)
    findings = examine(folder_of(root))
    assert ids(findings) - ALWAYS == expected, findings


def test_more_segments_than_centers(sound_root):
    findings = examine(folder_of(sound_root), num_centers=4)
    assert ids(findings) == ALWAYS | {'PD407'}
    message = next(finding.message for finding in findings if finding.id == 'PD407')
    # Each image has five segments: three things, glass and tissue.
    assert '3 of 3 images have up to 5 segments' in message and 'at least 20.0%' in message


def test_the_ceiling_is_that_of_the_segments_that_are_left(root):
    a_segment_is_tiny(root)
    findings = examine(folder_of(root))
    [finding] = [finding for finding in findings if finding.id == 'PD310']
    # Of four classes three are whole, and the worm is found in two of its three images.
    ceiling = 100 * (3 + 2 / (2 + 0.5)) / 4
    assert f'PQ can be {ceiling:.2f} at most' in finding.message
    assert finding.severity == 'note'  # as it costs less than 10 points


def test_a_small_size_lets_segments_vanish(sound_root):
    findings = examine(folder_of(sound_root), image_size=(17, 17), stride=8)
    assert {f.severity for f in findings if f.id == 'PD310'} == {'warning'}


def test_without_pixels_the_rest_is_found_and_said_to_be_the_rest(root):
    image_is_missing(root)
    area_is_wrong(root)
    result = examination(folder_of(root), fast=True)
    assert ids(result.findings) == ALWAYS | {'PD201'}
    assert {'PD305', 'PD401'} <= set(result.left_out)
    assert not {'PD201', 'PD407'} & set(result.left_out)


def test_every_rule_has_a_planted_fault():
    planted = set().union(*(expected for _, expected in FAULTS.values()))
    assert planted | ALWAYS | {'PD407'} == set(RULES)


@pytest.mark.parametrize(
    ('plant', 'options', 'status'),
    [
        (None, {}, 0),
        (None, dict(fail_on='note'), 1),
        (image_is_missing, {}, 1),
        (area_is_wrong, {}, 0),
        (area_is_wrong, dict(fail_on='warning'), 1),
        (json_is_truncated, {}, 2),
    ],
)
def test_the_exit_status(root, capsys, plant, options, status):
    if plant:
        plant(root)
    assert run_doctor(root, **options) == status
    assert ('PD408' in capsys.readouterr().out) == (status != 2)


def test_what_cannot_be_opened(tmp_path, capsys):
    assert run_doctor(tmp_path) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_the_table_groups_files(root, capsys):
    for number in (1, 2, 3):
        image(root, number).unlink()
    image(root, 4).unlink()
    run_doctor(root)
    text = ' '.join(capsys.readouterr().out.replace('│', ' ').split())
    assert '4 x an image is missing' in text
    assert 'train2017/1.png: ' in text and 'and 1 more' in text


def test_json_goes_to_the_output(root, capsys):
    area_is_wrong(root)
    run_doctor(root, as_json=True)
    result = json.loads(capsys.readouterr().out)
    [finding] = [finding for finding in result['findings'] if finding['id'] == 'PD305']
    assert finding['file'] == str(png(root)) and finding['severity'] == 'warning'
    assert result['figures']['train2017']['most_segments'] == 5


def test_real_data_pass(real_data):
    findings = examine(open_data(real_data / 'coco'))
    assert {finding.severity for finding in findings} == {'note'}


def test_the_documented_rules_are_those_of_the_code():
    assert rules_text() in (ROOT / 'docs/own_data.md').read_text()


def test_the_default_is_that_of_the_configs():
    config = read_config(str(ROOT / 'configs/_base_/models/cmt-deeplab_r50.py'))
    assert f'num_centers={DEFAULT_CENTERS}' in config.text


def test_masks_of_hundreds_of_things(tmp_path, capsys, monkeypatch):
    """The layout of many nuclei data sets: a folder of images and one of masks with their ids."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (tmp_path / 'nuclei' / folder).mkdir(parents=True)
    numbers = np.arange(1, 145).reshape(12, 12)
    for k in range(4):
        ids = np.kron(numbers, np.pad(np.ones((5, 5)), (0, 2))).astype(np.uint16)
        pixels = generator.integers(0, 256, (*ids.shape, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f'nuclei/images/{k}.png'), pixels)
        cv2.imwrite(str(tmp_path / f'nuclei/masks/{k}.png'), ids)
    assert run_doctor(tmp_path / 'nuclei', fail_on='warning') == 1
    text = ' '.join(capsys.readouterr().out.replace('│', ' ').split())
    assert 'images have up to 145 segments, and a model with 128 centers misses' in text
    options = dict(background='tissue', layout='instance-masks', num_centers=150)
    assert run_doctor(tmp_path / 'nuclei', fail_on='warning', **options) == 0
    assert 'stuff: tissue;' in capsys.readouterr().out


def places(value, path=()):
    """The path of every entry in a nest of dicts and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def test_no_value_makes_the_doctor_itself_fail(root, capsys):
    path = root / 'annotations/panoptic_train2017.json'
    content, generator = path.read_text(), random.Random(0)
    values = [None, True, -1, 10**30, float('nan'), '', '\x00', '../x', 'a\x1b[31m[b]', [], {}]
    faulty = 0
    for *above, last in generator.sample([*places(json.loads(content))], 60):
        changed = json.loads(content)
        owner = changed
        for key in above:
            owner = owner[key]
        owner[last] = generator.choice(values)
        path.write_text(json.dumps(changed))
        findings = examine(folder_of(root))
        faulty += 'error' in {finding.severity for finding in findings}
        run_doctor(root)
    assert faulty > 30
    assert '\x1b[31m' not in capsys.readouterr().out
