"""PanopticInferencer: the segments of an evaluation, of whatever holds images."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.coco_format import label_of, map_value
from cmt_deeplab.datasets import ShapesPanopticDataset
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders
from cmt_deeplab.evaluation.panoptic_files import TruthFiles
from cmt_deeplab.inference import PanopticInferencer
from cmt_deeplab.inference.command import DISPLAYS, predict
from cmt_deeplab.inference.inputs import Item, distinct_names
from cmt_deeplab.inference.output import PredictionFolder
from cmt_deeplab.inference.result import as_result
from PIL import Image
from run_tool import ROOT, run_tool
from untrained import certain_config, save_untrained


@pytest.fixture(scope='module')
def tiny(tmp_path_factory) -> PanopticInferencer:
    path = save_untrained(certain_config(), tmp_path_factory.mktemp('tiny') / 'tiny.pth')
    return PanopticInferencer(path, device='cpu')


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    """Two images of different sizes in each of two folders, with equal names, and a text file."""
    folder = tmp_path_factory.mktemp('scenes')
    draw = np.random.default_rng(0)
    for place, size in (('a', (80, 60)), ('b', (64, 96))):
        (folder / place).mkdir()
        for number in (1, 2):
            coarse = draw.integers(0, 256, (5, 7, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / place / f'{number}.png'), cv2.resize(coarse, size))
    (folder / 'a' / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture(scope='module')
def video(scenes) -> str:
    path = str(scenes / 'film.avi')
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'MJPG'), 5, (80, 60))
    for shift in range(5):
        writer.write(np.roll(cv2.imread(str(scenes / 'a' / '1.png')), 5 * shift, axis=1))
    writer.release()
    return path


def same(one, other) -> bool:
    return np.array_equal(one.id_map, other.id_map) and one.segments_info == other.segments_info


@pytest.mark.parametrize('windows', [None, pytest.param((256, 256), marks=pytest.mark.slow)])
def test_the_segments_of_tools_test_on_real_images(real_data, tmp_path, windows):
    """Bit for bit, with images of several sizes in one batch, whole or in windows."""
    truth = json.loads((real_data / 'coco/annotations/panoptic_val2017.json').read_text())
    by_size = {(image['height'], image['width']): image for image in truth['images']}
    images = [*by_size.values()][:3]
    assert len(images) == 3
    ids = {image['id'] for image in images}
    annotations = [each for each in truth['annotations'] if each['image_id'] in ids]
    file = tmp_path / 'few.json'
    file.write_text(json.dumps(dict(truth, images=images, annotations=annotations)))
    config = certain_config(model__num_things_classes=80, model__num_stuff_classes=53)
    root = f'{real_data}/coco/'
    config.test_dataloader.dataset.update(
        type='PanopticIndexDataset',
        data_root=root,
        ann_file=str(file),
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
    )
    if windows:
        config.model.test_windows = dict(size=windows)
        config.test_dataloader.dataset.own_scale = True
    config.test_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    config.test_evaluator = dict(
        type='PanopticQualityMetric',
        ann_file=str(file),
        seg_prefix=f'{root}annotations/panoptic_val2017/',
    )
    config.dump(str(tmp_path / 'config.py'))
    weights = save_untrained(config, tmp_path / 'weights.pth')
    finished = run_tool(
        'test.py', tmp_path / 'config.py', weights, '--work-dir', tmp_path / 'work',
        '--out', tmp_path / 'out.pkl',
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    evaluated = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    paths = [f'{root}val2017/{image["file_name"]}' for image in images]
    found = PanopticInferencer(weights, device='cpu')(paths, batch_size=2, progress=False)
    for expected, result in zip(evaluated, found, strict=True):
        plane = expected['pred_panoptic_seg']['sem_seg'][0].numpy()
        infos = expected['pred_panoptic_seg']['segments_info']
        assert result.id_map.shape == plane.shape and len(infos) > 1
        assert not result.id_map[plane == len(result.classes)].any()
        for info, segment in zip(infos, result.segments_info, strict=True):
            assert np.array_equal(result.mask(segment['id']), plane == info['id'])
            assert segment['score'] == info['score'] and segment['area'] == info['area']
            assert segment['label'] == result.classes[info['category_id']]
        same_kinds = label_of(result.segment_map) == label_of(plane)
        assert same_kinds.all()  # instances are numbered by their scores here
    assert found[0].name == str(images[0]['file_name']).removesuffix('.jpg')


def test_an_image_of_one_window_is_predicted_as_a_whole_and_a_larger_one_keeps_its_size(tmp_path):
    path = save_untrained(certain_config(), tmp_path / 'tiny.pth')
    plain, inferencer = (
        PanopticInferencer(path, device='cpu', windows=windows) for windows in (None, (96, 96))
    )
    coarse = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (130, 180))
    piece, whole = image[:96, :96], inferencer(image)[0]
    assert same(plain(piece)[0], inferencer(piece)[0]) and not same(plain(image)[0], whole)
    assert whole.id_map.shape == (180, 130) and len(whole.segments_info) > 1
    with pytest.raises(UserError, match='at least 32 pixels'):
        PanopticInferencer(path, device='cpu', windows=(96, 9))


def test_what_a_result_holds(tiny, scenes):
    (result,) = tiny(scenes / 'a' / '1.png')
    assert result.id_map.dtype == np.int32 and result.id_map.shape == (60, 80)
    ids = [info['id'] for info in result.segments_info]
    assert ids == [*range(1, len(ids) + 1)] and set(np.unique(result.id_map)) <= {0, *ids}
    for info in result.segments_info:
        rows, columns = np.nonzero(result.id_map == info['id'])
        x, y, width, height = info['bbox']
        assert (x, y, x + width - 1, y + height - 1) == (
            *(columns.min(), rows.min()),
            *(columns.max(), rows.max()),
        )
        assert info['area'] == len(rows) and 0 < info['score'] <= 1
        assert info['label'] == tiny.classes[info['label_id']]
        assert info['isthing'] == (info['label_id'] < 6)
    scores = [info['score'] for info in result.segments_info]
    assert scores == sorted(scores, reverse=True) and len(scores) > 1
    assert np.array_equal(result.image[..., ::-1], cv2.imread(str(scenes / 'a' / '1.png')))
    assert json.loads(json.dumps(result.segments_info)) == result.segments_info


def test_paths_arrays_and_pictures_give_the_same(tiny, scenes):
    path = scenes / 'a' / '1.png'
    bgr = cv2.imread(str(path))
    (expected,) = tiny(str(path))
    for given, order in ((bgr, 'bgr'), (bgr[..., ::-1], 'rgb'), (Image.open(path), 'rgb')):
        (result,) = tiny(given, channel_order=order)
        assert same(result, expected) and np.array_equal(result.image, expected.image)
    mixed = tiny([path, bgr[..., ::-1], Image.open(path).convert('RGBA')])
    assert [same(result, expected) for result in mixed] == [True] * 3
    assert [result.name for result in mixed] == ['1', 'image_000001', 'image_000002']


def test_pictures_are_turned_as_files(tiny, tmp_path):
    turned = Image.Exif()
    turned[0x112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / 'a.jpg', exif=turned)
    (expected,) = tiny(tmp_path / 'a.jpg')
    (result,) = tiny(Image.open(tmp_path / 'a.jpg'))
    assert result.id_map.shape == expected.id_map.shape == (60, 40)
    (tmp_path / 'half.jpg').write_bytes((tmp_path / 'a.jpg').read_bytes()[:-1000])
    with pytest.raises(UserError, match='PIL image cannot be decoded'):
        tiny(Image.open(tmp_path / 'half.jpg'))


def test_hidden_files_and_brackets_in_names_of_folders(tiny, scenes, tmp_path):
    folder = tmp_path / 'run [1]'
    (folder / 'sub').mkdir(parents=True)
    for name in ('x.png', 'sub/y.png'):
        (folder / name).write_bytes((scenes / 'a' / '1.png').read_bytes())
    (folder / '._x.png').write_text('of another system')
    assert [result.name for result in tiny(folder)] == ['x']
    assert [result.name for result in tiny(folder / '*.png')] == ['x']
    assert [result.name for result in tiny(folder / '**' / '[xy].png')] == ['y', 'x']


def test_folders_and_patterns(tiny, scenes, video):
    names = {result.name for result in tiny(str(scenes / '**' / '*.png'))}
    assert names == {'a/1', 'a/2', 'b/1', 'b/2'}
    assert [result.name for result in tiny(scenes / 'a')] == ['1', '2']
    found = tiny([scenes / 'a', video, str(scenes / 'b/1.png')], batch_size=3)
    assert [result.name for result in found] == ['a/1', 'a/2'] + ['film'] * 5 + ['b/1']
    assert [result.frame for result in found[2:7]] == [0, 1, 2, 3, 4]
    assert len({result.id_map.tobytes() for result in found[2:7]}) > 1


def test_names_of_images_differ():
    assert distinct_names(['x/7.jpg', 'x/8.jpg']) == {'x/7.jpg': '7', 'x/8.jpg': '8'}
    assert distinct_names(['x/7.jpg', 'y/007.jpg']) == {'x/7.jpg': 'x/7', 'y/007.jpg': 'y/007'}
    assert distinct_names(['x/a.jpg', 'x/a.png']) == {'x/a.jpg': 'a.jpg', 'x/a.png': 'a.png'}
    assert distinct_names(['x/a.jpg', 'x/a.jpg']) == {'x/a.jpg': 'a'}


def test_a_stream_keeps_nothing(tiny, scenes):
    """Images are read when their batch is due, also of an iterator without an end."""
    taken = []

    def images() -> Iterator[np.ndarray]:
        while True:
            taken.append(1)
            yield np.full((40, 50, 3), 10 * len(taken), np.uint8)

    results = tiny.stream(images(), batch_size=2)
    assert len(taken) == 0 and next(results).name == 'image_000000' and len(taken) == 2
    next(results), next(results)
    assert len(taken) == 4
    results.close()
    by_path = tiny.stream(iter([scenes / 'a' / '1.png']))
    assert next(by_path).name == '000000_1'


def test_files_of_the_predictions(shapes_root, tmp_path):
    """evaluate_panoptic.py reads them; the truth itself gets a PQ of 100."""
    folder = f'{shapes_root}/annotations/panoptic_val2017'
    config = certain_config(test_dataloader__dataset__data_root=f'{shapes_root}/')
    inferencer = PanopticInferencer(save_untrained(config, tmp_path / 'tiny.pth'), device='cpu')
    known = inferencer.network.category_ids
    files = TruthFiles(f'{folder}.json', folder)
    assert known == files.category_ids(ShapesPanopticDataset.METAINFO, all_needed=True)
    images = sorted((shapes_root / 'val2017').iterdir())
    with PredictionFolder(tmp_path / 'true', inferencer.network, overlay=False) as out:
        for image in images:
            plane, table = files.truth_of(int(image.stem), lambda size: None)
            values = map_value(table.categories, np.arange(1, len(table.ids) + 1))
            segment_map = np.full(plane.shape, 11)
            for number, value in zip(table.ids, values):
                segment_map[plane == number] = value
            areas = np.bincount(segment_map.ravel())
            infos = [dict(id=value, area=int(areas[value])) for value in values.tolist()]
            read = dict(image=np.zeros((*plane.shape, 3), np.uint8), name=image.stem)
            result = as_result(segment_map, infos, inferencer.classes, 6, **read)
            out.write(Item(name=image.stem, path=str(image)), result)
    found = inferencer(images[0].parent, out_dir=tmp_path / 'out', batch_size=8)
    for name in ('true', 'out'):
        here = tmp_path / name / 'panoptic'
        table = evaluate_folders(f'{folder}.json', folder, f'{here}.json', str(here))
        assert (table['All']['pq'] == 1) == (name == 'true')
    assert cv2.imread(str(tmp_path / 'out/overlay/000000000001.jpg')).shape == (384, 384, 3)
    assert len(found) == 6 and not [*tmp_path.rglob('*.part')]


def test_equal_names_and_videos_are_written_apart(tiny, scenes, video, tmp_path):
    tiny([scenes / 'a', scenes / 'b', video], out_dir=tmp_path, batch_size=2)
    content = json.loads((tmp_path / 'panoptic.json').read_text())
    assert [each['file_name'] for each in content['annotations']] == [
        *('a/1.png', 'a/2.png'),
        *('b/1.png', 'b/2.png'),
    ]
    for name in ('a/1', 'b/2'):
        assert (tmp_path / f'panoptic/{name}.png').is_file()
        assert (tmp_path / f'overlay/{name}.jpg').is_file()
    film = cv2.VideoCapture(str(tmp_path / 'film.mp4'))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and film.read()[1].shape[0] >= 384
    assert film.get(cv2.CAP_PROP_FPS) == 5


@pytest.mark.parametrize('read', ['film.mp4', 'film.avi'])
def test_a_video_is_not_written_over(read, tiny, video, tmp_path):
    path = tmp_path / 'film.mp4'
    for copy in (path, tmp_path / read):
        copy.write_bytes(Path(video).read_bytes())
    with pytest.raises(UserError, match='beside the video that is read'):
        tiny(tmp_path / read, out_dir=tmp_path)
    assert path.read_bytes() == Path(video).read_bytes()


def test_a_window_needs_a_display(monkeypatch):
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match='No window can be opened'):
        predict('model.pth', ['image.png'], show=True)


def test_the_command(scenes, video, tiny, tmp_path, capsys):
    weights = save_untrained(certain_config(), tmp_path / 'tiny.pth')
    inputs = [str(scenes / 'b' / '*.png'), video]
    predict(weights, inputs, out=str(tmp_path / 'out'), device='cpu', threshold=0.0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(':')[0] for line in lines[:2]] == [f'{scenes}/b/{k}.png' for k in (1, 2)]
    assert lines[2].startswith(f'{video}: 5 frames, drawn in') and len(lines) == 4
    predict(weights, inputs[:1], out=str(tmp_path / 'plain'), device='cpu', overlay=False)
    assert sorted(path.name for path in (tmp_path / 'plain').iterdir()) == [
        'panoptic',
        'panoptic.json',
    ]


def test_predictions_before_an_error_are_written(tiny, scenes, tmp_path):
    half = tmp_path / 'half.png'
    half.write_bytes((scenes / 'a/1.png').read_bytes()[:500])
    with pytest.raises(UserError, match='half.png is truncated'):
        tiny([scenes / 'a', half], out_dir=tmp_path / 'out')
    assert len(json.loads((tmp_path / 'out/panoptic.json').read_text())['images']) == 2


def test_what_cannot_be_read_is_left_out_by_the_command(scenes, video, tmp_path, capsys):
    """The others are written, with a sentence for each one and the exit status 1 at the end."""
    weights, photos = save_untrained(certain_config(), tmp_path / 'tiny.pth'), tmp_path / 'photos'
    photos.mkdir()
    for name in ('a', 'c'):
        (photos / f'{name}.png').write_bytes((scenes / 'a/1.png').read_bytes())
    (photos / 'b.png').write_bytes((scenes / 'a/1.png').read_bytes()[:500])
    (photos / 'empty.mp4').write_bytes(b'')
    (photos / 'link.jpg').symlink_to('nowhere')
    (photos / 'notes.txt').write_text('no image')
    with pytest.raises(UserError, match='3 of the inputs could not be read'):
        predict(weights, [str(photos)], out=str(tmp_path / 'out'), device='cpu', batch_size=2)
    printed = capsys.readouterr()
    assert [Path(line.partition(':')[0]).name for line in printed.out.splitlines()[:2]] == [
        *('a.png', 'c.png')
    ]
    for said in ('b.png is truncated', 'empty.mp4 has no frame', 'link.jpg does not exist'):
        assert said in printed.err
    images = json.loads((tmp_path / 'out/panoptic.json').read_text())['images']
    assert [image['id'] for image in images] == ['a', 'c']


def test_a_video_without_its_end_is_told_of(tiny, video, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'cmt_deeplab.inference.inputs.print_log', lambda text, *_: said.append(text)
    )
    tiny(video)
    assert said == []
    half = tmp_path / 'half.avi'
    frames = Path(video).read_bytes().split(b'00dc')
    half.write_bytes(b'00dc'.join(frames[:4]))
    assert len(tiny(half)) < 5
    assert 'its header tells 5' in said[0]


def test_only_predictions_are_written_over(tiny, scenes, tmp_path):
    image = scenes / 'a/1.png'
    for _ in range(2):
        tiny(image, out_dir=tmp_path / 'again')
    for name in ('panoptic.json', 'panoptic/1.png', 'overlay/1.jpg'):
        path = tmp_path / name.replace('/', '_') / name
        path.parent.mkdir(parents=True)
        path.write_text('{"images": []}')
        with pytest.raises(UserError, match=f'{name} was not written by this version of'):
            tiny(image, out_dir=tmp_path / name.replace('/', '_'))
        assert path.read_text() == '{"images": []}'


def test_thresholds(tiny, scenes):
    """They decide before the merge: what a dropped center held goes to others."""
    path = scenes / 'b' / '1.png'
    (plain,) = tiny(path)
    label = plain.segments_info[0]['label']
    (without,) = tiny(path, thresholds={label: 1.0})
    assert label not in {info['label'] for info in without.segments_info}
    gained = without.id_map[plain.id_map == 1] > 0
    assert gained.any() and len(without.segments_info) > 0
    (nothing,) = tiny(path, thresholds=1)
    assert nothing.segments_info == [] and not nothing.id_map.any()
    assert (nothing.segment_map == 11).all() and nothing.draw().ndim == 3
    (again,) = tiny(path)
    assert same(again, plain)
    strict = certain_config()
    merge = dict(strict.model.postprocess, thing_threshold=1.0, stuff_threshold=1.0)
    strict.model.postprocess = merge
    weights = save_untrained(strict, scenes / 'strict.pth')
    (lowered,) = PanopticInferencer(weights, device='cpu')(path, thresholds=0)
    assert same(lowered, plain)


def test_supervision(tiny, scenes):
    supervision = pytest.importorskip('supervision')
    (result,) = tiny(scenes / 'a' / '1.png')
    found = result.to_supervision()
    assert isinstance(found, supervision.Detections) and len(found) == len(result.segments_info)
    for k, info in enumerate(result.segments_info):
        x, y, width, height = info['bbox']
        assert found.xyxy[k].tolist() == [x, y, x + width, y + height]
        assert np.array_equal(found.mask[k], result.id_map == info['id'])
        assert found.data['class_name'][k] == info['label']
        assert found.confidence[k] == pytest.approx(info['score'])
    (nothing,) = tiny(scenes / 'a' / '1.png', thresholds=1)
    assert len(nothing.to_supervision()) == 0


def test_pictures_and_ids_are_saved(tiny, scenes, tmp_path):
    (result,) = tiny(scenes / 'a' / '1.png')
    result.save(tmp_path / 'picture.png', min_side=1)
    assert cv2.imread(str(tmp_path / 'picture.png')).shape == (60, 80, 3)
    result.save_ids(tmp_path / 'ids.png')
    with pytest.raises(UserError, match=r'ids\.jpg would change the ids'):
        result.save_ids(tmp_path / 'ids.jpg')
    blue, green, red = np.moveaxis(cv2.imread(str(tmp_path / 'ids.png')).astype(int), 2, 0)
    assert np.array_equal(red + 256 * green + 65536 * blue, result.id_map)
    with pytest.raises(UserError, match='no ending of a picture'):
        result.save(tmp_path / 'picture')


ZEROS = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ('nothing.jpg', 'There is no image, folder or video nothing.jpg'),
        ('http://host/a.jpg', 'is an address'),
        (str(ROOT / 'requirements'), 'holds no image and no video'),
        (str(ROOT / 'README.md'), 'is not an image'),
        ([], 'the list is empty'),
        (None, 'is given as NoneType'),
        ({'a': 1}, 'is given as dict'),
        ([torch.zeros(3, 8, 8)], 'is given as Tensor'),
        (ZEROS[:0, :0], 'give the pixels of one image'),
        (ZEROS[..., 0], 'COLOR_GRAY2RGB'),
        (ZEROS[..., :2], r'has the shape \(8, 8, 2\)'),
        (np.dstack([ZEROS, ZEROS[..., :1]]), 'take away the alpha channel'),
        (ZEROS.astype(np.uint16), 'the type uint16'),
        (np.full((8, 8, 3), 0.5), 'scale them to these'),
        (ZEROS[None], 'give a list of images'),
        (Image.new('I;16', (8, 8)), "the mode 'I;16'"),
        (Image.new('LAB', (8, 8)), "the mode 'LAB'"),
    ],
)
def test_what_is_no_image(tiny, given, said):
    with pytest.raises(UserError, match=said) as error:
        tiny(given)
    assert '\n' not in str(error.value) and str(error.value).endswith('.')


def test_gray_palette_and_transparent_files(tiny, tmp_path):
    """They are read in color, as in training; 16 bits that are nearly black are not."""
    draw = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    Image.fromarray(draw).save(tmp_path / 'gray.png')
    Image.fromarray(draw).convert('RGBA').save(tmp_path / 'rgba.png')
    Image.fromarray(draw).convert('P').save(tmp_path / 'palette.png')
    (expected,) = tiny(np.dstack([draw] * 3))
    found = tiny([tmp_path / f'{name}.png' for name in ('gray', 'rgba', 'palette')])
    assert [same(result, expected) for result in found] == [True] * 3
    cv2.imwrite(str(tmp_path / 'dark.png'), draw.astype(np.uint16))
    with pytest.raises(UserError, match='nearly black'):
        tiny(tmp_path / 'dark.png')


def test_a_broken_video(tiny, scenes, video, tmp_path):
    broken = tmp_path / 'broken.mp4'
    broken.write_bytes(Path(video).read_bytes()[:300])
    with pytest.raises(UserError, match='broken.mp4 (cannot be read|has no frame)'):
        tiny(broken)


def test_arguments_of_the_user(tiny, scenes):
    path = scenes / 'a' / '1.png'
    for options, said in (
        (dict(batch_size=0), 'batch_size is 0'),
        (dict(channel_order='RGB'), "give 'rgb' or 'bgr'"),
        (dict(thresholds={'dusk': 0.5}), r'no class of the model \(is disk meant\?\)'),
        (dict(thresholds=2), 'a number from 0 to 1'),
    ):
        with pytest.raises(UserError, match=said):
            tiny.stream(path, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_device_that_is_not_there(tiny):
    for device in ('cuda', 'nothing'):
        with pytest.raises(UserError, match=f"device='{device}' is not there"):
            PanopticInferencer('any.pth', device=device)
    assert next(tiny.network.model.parameters()).device.type == 'cpu'


def test_a_model_that_is_not_there():
    for model in ('nothing.pth', 'nothing.py'):
        with pytest.raises(MissingFileError, match=f'{model} does not exist'):
            PanopticInferencer(model)
