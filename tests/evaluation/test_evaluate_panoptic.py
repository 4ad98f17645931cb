"""PQ of folders in COCO's format, and its command line.

Golden figures, panopticapi's keys and table, and one sentence for bad input.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders
from PIL import Image
from pq_oracles import by_panopticapi, ours

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'analysis_tools' / 'evaluate_panoptic.py'
CATEGORIES = [
    dict(id=3, name='cat', isthing=1),
    dict(id=20, name='sky', isthing=0),
    dict(id=5, name='dog', isthing=1),
]


def run(*arguments):
    """The tool without PYTHONPATH, so that the package itself cannot be imported."""
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={'PATH': '/usr/bin:/bin'},
    )


def write_side(root, name, planes, *, crowd=False):
    folder = root / name
    folder.mkdir()
    annotations = []
    for image_id, (plane, categories) in planes.items():
        colors = np.stack([plane % 256, plane // 256 % 256, plane // 65536], -1).astype(np.uint8)
        Image.fromarray(colors).save(folder / f'{image_id}.png')
        segments = [
            dict(
                id=int(i),
                category_id=categories[int(i)],
                iscrowd=int(crowd and i == 70000),
                area=int((plane == i).sum()),
            )
            for i in np.unique(plane)
            if i
        ]
        annotations.append(
            dict(image_id=image_id, file_name=f'{image_id}.png', segments_info=segments)
        )
    images = [
        dict(id=image_id, height=plane.shape[0], width=plane.shape[1], file_name=f'{image_id}.jpg')
        for image_id, (plane, _) in planes.items()
    ]
    path = root / f'{name}.json'
    path.write_text(json.dumps(dict(images=images, categories=CATEGORIES, annotations=annotations)))
    return path, folder


@pytest.fixture
def sides(tmp_path):
    """(GT_JSON, GT_DIR, PRED_JSON, PRED_DIR) of three images.

    They have ids beyond one byte, a crowd and void.
    """
    rng = np.random.default_rng(5)
    truth, guess = {}, {}
    for image_id in (11, 12, 13):
        plane = np.zeros((30, 40), dtype=np.int64)
        plane[3:20, 2:30], plane[10:28, 5:15], plane[1:9, 25:39], plane[22:30, 20:40] = (
            70000,
            300,
            7,
            65536,
        )
        truth[image_id] = (plane, {70000: 3, 300: 20, 7: 5, 65536: 3})
        shifted = np.roll(plane, rng.integers(1, 4), axis=1)
        guess[image_id] = (shifted, {70000: int(rng.choice([3, 5])), 300: 20, 7: 5, 65536: 3})
    return (*write_side(tmp_path, 'gt', truth, crowd=True), *write_side(tmp_path, 'pred', guess))


def test_golden_figures_of_every_class(real_data, tmp_path):
    golden = real_data / 'golden_pq_val100'
    truth = real_data / 'coco' / 'annotations' / 'panoptic_val2017.json'
    out = tmp_path / 'out.json'
    done = run(
        truth,
        truth.with_suffix(''),
        golden / 'panoptic_pred.json',
        golden / 'panoptic_pred',
        '--json',
        out,
    )
    assert done.returncode == 0 and 'All       |  61.6   80.1   72.5   127' in done.stdout, (
        done.stderr
    )
    got, expected = (
        json.loads(out.read_text()),
        json.loads((golden / 'panopticapi_result.json').read_text()),
    )
    for group in ('All', 'Things', 'Stuff'):
        assert got[group] == pytest.approx(expected[group], abs=1e-12)
    assert (
        got['per_class'].keys() == expected['per_class'].keys()
        and round(100 * got['All']['pq'], 4) == 61.6101
    )
    for category, figures in expected['per_class'].items():
        assert got['per_class'][category] == pytest.approx(figures, abs=1e-12)


def test_ground_truth_against_itself_is_100(real_data):
    truth = real_data / 'coco' / 'annotations' / 'panoptic_val2017.json'
    figures = evaluate_folders(
        str(truth), str(truth.with_suffix('')), str(truth), str(truth.with_suffix(''))
    )
    assert figures['All'] == dict(pq=1, sq=1, rq=1, n=figures['All']['n'])


def test_equals_panopticapi(sides, tmp_path, capsys):
    pq_compute = pytest.importorskip('panopticapi.evaluation').pq_compute
    expected = pq_compute(str(sides[0]), str(sides[2]), str(sides[1]), str(sides[3]))
    table = capsys.readouterr().out.split('          |')[1].split('Time elapsed')[0]
    done = run(
        '--gt_json_file', sides[0], '--pred_json_file', sides[2], '--json', tmp_path / 'out.json'
    )  # panopticapi's own flags
    assert done.returncode == 0 and table.strip() in done.stdout
    got = json.loads((tmp_path / 'out.json').read_text())
    assert got == json.loads(json.dumps(expected)) and 0.2 < got['All']['pq'] < 1


def test_categories_need_no_names(sides):
    before = evaluate_folders(*map(str, sides))
    edit(
        sides[0],
        lambda content: [category.pop('name') for category in content['categories']] and None,
    )
    assert evaluate_folders(*map(str, sides)) == before


def test_segments_need_neither_iscrowd_nor_area(sides):
    def strip(content, fields):
        for segment in (
            segment
            for annotation in content['annotations']
            for segment in annotation['segments_info']
        ):
            for field in fields:
                segment.pop(field, None)

    edit(
        sides[0],
        lambda c: (
            [s.update(iscrowd=0) for a in c['annotations'] for s in a['segments_info']] and None
        ),
    )
    before = evaluate_folders(*map(str, sides))
    edit(sides[0], lambda content: strip(content, ('iscrowd', 'area')))
    assert evaluate_folders(*map(str, sides)) == before


def test_a_true_segment_of_area_0_may_be_absent(sides):
    """As in panopticapi it is a miss."""

    def add(content):
        first(content)['segments_info'].append(dict(segment_of(content), id=99, area=0))

    before = evaluate_folders(*map(str, sides))
    edit(sides[0], add)
    after = evaluate_folders(*map(str, sides))
    assert after['per_class'][5]['rq'] < before['per_class'][5]['rq']


def each_segment(change):
    def edited(content):
        for annotation in content['annotations']:
            for segment in annotation['segments_info']:
                segment.update(change(segment))

    return edited


AREAS = {
    'a quarter': lambda s: dict(area=s['area'] // 4),
    'four times': lambda s: dict(area=4 * s['area']),
    'negative': lambda s: dict(area=-s['area']),
    'huge': lambda s: dict(area=10**30),
    'fractions': lambda s: dict(area=s['area'] + 0.5),
    'zero': lambda s: dict(area=0),
}


@pytest.mark.parametrize('name', AREAS)
def test_pixels_are_counted_whatever_the_json_says(sides, name):
    expected = evaluate_folders(*map(str, sides))
    for path in (sides[0], sides[2]):
        edit(path, each_segment(AREAS[name]))
    said = []
    truth = tuple(map(str, sides[:2]))
    assert evaluate_folders(*truth, *truth, warn=said.append)['All']['pq'] == 1
    assert len(said) == 2 and all('The "area" of 12 segments in' in words for words in said)
    assert 'first: segment 7 with the area' in said[0] and 'image 11): the pixels' in said[0]
    assert evaluate_folders(*map(str, sides), warn=said.append) == expected


def test_believed_areas_give_no_figure_above_100_percent(sides):
    edit(sides[0], each_segment(AREAS['a quarter']))
    truth = sides[0], sides[1]
    done = run(*truth, *truth, '--as-panopticapi')
    assert done.returncode == 1 and 'figures above 100 %: correct the areas' in done.stderr
    assert 'PQ' not in done.stdout and 'Traceback' not in done.stderr
    done = run(*truth, *truth)
    assert 'All       | 100.0  100.0  100.0     3' in done.stdout
    assert 'Warning: The "area" of 12 segments' in done.stderr


def as_panopticapi_accepts(rng, truth, guess):
    """Change both JSONs in ways in which panopticapi gives figures, and we otherwise none."""
    annotation = truth['annotations'][0]
    segments, listed = annotation['segments_info'], guess['annotations'][0]['segments_info']
    void = dict(id=0, category_id=20, iscrowd=0, area=99)
    changes = (
        lambda: [s.update(area=s['area'] * rng.choice([1, 2, 1.1])) for s in segments],
        lambda: segments[1].update(area=-(10**6)),
        lambda: segments[0].update(iscrowd=rng.choice([2, '1', True])),
        lambda: segments[0].update(category_id=1234),
        lambda: segments.pop(),
        lambda: segments.append(dict(segments[0], id=99)),
        lambda: segments.append(dict(segments[0], category_id=5)),
        lambda: segments.insert(0, void),
        lambda: listed.append(dict(listed[0], category_id=20)),
        lambda: listed[0].update(score='high'),
        lambda: listed.insert(0, void),
        lambda: truth['annotations'].append(annotation),
        lambda: guess['annotations'].append(guess['annotations'][0]),
        lambda: truth['categories'].append(dict(id=3, isthing=0)),
        lambda: truth['categories'][0].update(isthing=rng.choice(['1', 2, True])),
        lambda: truth.update(images=[dict(id='other')]),
        lambda: guess['annotations'].append(dict(image_id=5, file_name='5', segments_info=[])),
    )
    for k in np.flatnonzero(rng.random(len(changes)) < 0.2):
        changes[k]()


@pytest.mark.parametrize('seed', range(25))
def test_as_panopticapi_gives_its_figures_where_we_differ(sides, seed):
    pytest.importorskip('panopticapi')
    rng, paths = np.random.default_rng(seed), tuple(map(str, sides))
    contents = [json.loads(sides[k].read_text()) for k in (0, 2)]
    as_panopticapi_accepts(rng, *contents)
    for k, content in zip((0, 2), contents):
        sides[k].write_text(json.dumps(content, default=lambda value: value.item()))
    figures = ours(evaluate_folders(*paths, as_panopticapi=True))
    for place, expected in by_panopticapi(paths[:2], paths[2:]).items():
        assert figures[place] == pytest.approx(expected, abs=1e-12)


def split(path, folder, image_id):
    """Cut the only stuff segment of an image into two, the lower one with the id 301."""

    def cut(pixels):
        lower = (pixels == (44, 1, 0)).all(-1)
        lower[:15] = False
        pixels[lower] = (45, 1, 0)
        return pixels

    def listed(content):
        segments = content['annotations'][image_id - 11]['segments_info']
        segments.append(dict(id=301, category_id=20, iscrowd=0))
        [segment.pop('area', None) for segment in segments]

    repaint(folder / f'{image_id}.png', cut)
    edit(path, listed)


def test_stuff_in_several_segments_is_told_once(sides):
    before, said = evaluate_folders(*map(str, sides)), []
    split(*sides[:2], 12)
    split(*sides[:2], 13)
    figures = evaluate_folders(*map(str, sides), warn=said.append)
    assert figures['Stuff']['pq'] < before['Stuff']['pq'] and len(said) == 1
    assert said[0].startswith(
        f'2 images of {sides[0]} have several segments of one stuff class (fi'
    )
    assert "2 of 'sky' in image 12), and PQ counts each of them: give" in said[0]
    truth = tuple(map(str, sides[:2]))
    assert evaluate_folders(*truth, *truth, warn=said.append)['All']['pq'] == 1
    assert len(said) == 2  # not of the prediction, which is split as the truth is
    figures = evaluate_folders(*map(str, sides[2:]), *truth, warn=said.append)
    assert len(said) == 3 and f'of {sides[0]} have several' in said[2]


def test_a_truth_of_crowds_alone_is_told(sides):
    said, truth = [], tuple(map(str, sides[:2]))
    edit(sides[0], each_segment(lambda _: dict(iscrowd=1)))
    assert evaluate_folders(*truth, *truth, warn=said.append)['All']['pq'] == 0
    assert len(said) == 1 and said[0].startswith(f'There is nothing to find in {sides[0]}')


def test_images_that_are_not_scored_are_told(sides):
    said = []
    edit(sides[0], lambda c: c['annotations'].pop(0) and None)
    evaluate_folders(*map(str, sides), warn=said.append)
    assert said == [
        f'1 images that {sides[0]} lists but does not annotate are not scored (first: image 11).',
        f'1 images that only {sides[2]} has are not scored (first: image 11).',
    ]


def test_starts_without_torch_and_mmdet():
    heavy = {'torch', 'mmcv', 'mmdet', 'mmengine'}
    code = (
        f'import sys, runpy; runpy.run_path({str(TOOL)!r}); assert not {heavy} & set(sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def edit(path, change):
    content = json.loads(path.read_text())
    content = change(content) or content
    path.write_text(json.dumps(content))


def repaint(path, change):
    Image.fromarray(change(np.array(Image.open(path)))).save(path)


def first(content):
    return content['annotations'][0]


def segment_of(content):
    return first(content)['segments_info'][0]


def black_out(pixels, color):
    pixels[(pixels == color).all(-1)] = 0
    return pixels


def truncate(path):
    path.write_bytes(path.read_bytes()[:60])


BAD = {
    'GT JSON missing': (lambda s: s[0].unlink(), 'gt.json does not exist'),
    'GT folder missing': (
        lambda s: shutil.rmtree(s[1]),
        'gt with the ground-truth PNGs does not exist',
    ),
    'prediction folder missing': (
        lambda s: shutil.rmtree(s[3]),
        'pred with the predicted PNGs does not exist',
    ),
    'not JSON': (lambda s: s[2].write_text('{"annot'), 'pred.json cannot be read as JSON'),
    'binary file as JSON': (
        lambda s: s[2].write_bytes(b'\x89PNG\xff\xfe'),
        'pred.json cannot be read as JSON',
    ),
    'a list': (lambda s: s[2].write_text('[]'), 'pred.json holds a list, not a dict'),
    'no categories': (
        lambda s: edit(s[0], lambda c: c.pop('categories') and None),
        'no list "categories"',
    ),
    'instances JSON': (
        lambda s: edit(s[0], lambda c: dict(c, annotations=[dict(image_id=11, bbox=[0, 0, 1, 1])])),
        "gt.json is a JSON of COCO's boxes",
    ),
    'annotation without segments': (
        lambda s: edit(s[2], lambda c: first(c).pop('segments_info') and None),
        '"segments_info"',
    ),
    'segments no list': (
        lambda s: edit(s[2], lambda c: first(c).update(segments_info=3)),
        'pred.json: "annotations" .* "image_id" 11 whose "segments_info" is 3 .int.',
    ),
    'segment no dict': (
        lambda s: edit(s[2], lambda c: first(c).update(segments_info=[3])),
        'pred.json: "segments_info" of image 11 has the entry 3',
    ),
    'segment without category': (
        lambda s: edit(s[2], lambda c: segment_of(c).pop('category_id') and None),
        '"category_id"',
    ),
    'segment id no number': (
        lambda s: edit(s[2], lambda c: segment_of(c).update(id='a')),
        'pred.json: .* image 11',
    ),
    'unknown category': (
        lambda s: edit(s[2], lambda c: segment_of(c).update(category_id=99)),
        'pred.json: .* image 11 .*"category_id" is 99 .int.',
    ),
    'unknown GT category': (
        lambda s: edit(s[0], lambda c: segment_of(c).update(category_id=98)),
        'gt.json: .* image 11 .*"category_id" is 98 .int.',
    ),
    'segment listed twice': (
        lambda s: edit(s[2], lambda c: first(c)['segments_info'].append(segment_of(c))),
        'pred.json: "segments_info" of image 11 has two entries with the "id" 7',
    ),
    'image listed twice': (
        lambda s: edit(s[2], lambda c: c['annotations'].append(first(c))),
        'pred.json: "annotations" has two entries with the "image_id" 11',
    ),
    'segment id 0 is void': (
        lambda s: edit(s[0], lambda c: segment_of(c).update(id=0)),
        'gt.json: .* image 11 has an entry whose "id" is 0 .int., .* from 1 to 16777215',
    ),
    'segment id with a fraction': (
        lambda s: edit(s[0], lambda c: segment_of(c).update(id=7.5)),
        'gt.json: .* image 11 has an entry whose "id" is 7.5 .float.',
    ),
    'iscrowd no number': (
        lambda s: edit(s[0], lambda c: segment_of(c).update(iscrowd='no')),
        'gt.json: .* image 11 .*"iscrowd" is \'no\' .str., .* 0, 1, true or false',
    ),
    'area no number': (
        lambda s: edit(s[0], lambda c: segment_of(c).update(area=None)),
        'gt.json: .* image 11 .*"area" is None',
    ),
    'palette PNG': (
        lambda s: Image.new('P', (40, 30)).save(s[3] / '12.png'),
        '12.png is a gray or palette PNG',
    ),
    'a score above 1': (
        lambda s: edit(s[2], lambda c: first(c)['segments_info'][0].update(score=1.5)),
        'pred.json: "segments_info" of image 11 has .* whose "score" is 1.5',
    ),
    'two categories with one id': (
        lambda s: edit(s[0], lambda c: c['categories'].append(dict(id=3, name='x', isthing=1))),
        'gt.json: "categories" has two entries with the "id" 3',
    ),
    'image listed twice in the truth': (
        lambda s: edit(s[0], lambda c: c['annotations'].append(first(c))),
        'gt.json: "annotations" has two entries with the "image_id" 11',
    ),
    'isthing as text': (
        lambda s: edit(s[0], lambda c: c['categories'][0].update(isthing='1')),
        'gt.json: "categories" .*"id" 3 whose "isthing" is \'1\' .str.',
    ),
    'ids as text on one side': (
        lambda s: edit(s[2], lambda c: first(c).update(image_id='11')),
        "gt.json and .*pred.json have the image ids 11 .int. and '11' .str.: write both in one",
    ),
    'categories of the prediction in another order': (
        lambda s: edit(s[2], lambda c: [k.update(id=25 - k['id']) for k in c['categories']][3:]),
        "pred.json gives category 5 the .name. 'sky', but .*gt.json gives it 'dog'",
    ),
    'a thing of the truth is stuff in the prediction': (
        lambda s: edit(s[2], lambda c: c['categories'][0].update(isthing=0)),
        'pred.json gives category 3 the "isthing" 0, but .*gt.json gives it 1',
    ),
    'truth without annotations': (
        lambda s: edit(s[0], lambda c: c.pop('annotations') and None),
        'gt.json has no ground truth',
    ),
    'PNG is a folder': (
        lambda s: edit(s[2], lambda c: first(c).update(file_name='.')),
        'The panoptic PNG .* cannot be read',
    ),
    'name that no file can have': (
        lambda s: edit(s[2], lambda c: first(c).update(file_name='\0')),
        'The panoptic PNG .* cannot be read',
    ),
    'image without prediction': (
        lambda s: edit(s[2], lambda c: c['annotations'].pop() and None),
        'gt.json has image 13, which .*pred.json lacks: predict every image',
    ),
    'PNG missing': (lambda s: (s[3] / '12.png').unlink(), '12.png does not exist'),
    'PNG truncated': (lambda s: truncate(s[3] / '12.png'), '12.png is truncated or damaged'),
    'PNG empty': (
        lambda s: (s[1] / '12.png').write_bytes(b''),
        'The panoptic PNG .*12.png is empty',
    ),
    'gray PNG': (
        lambda s: Image.new('L', (40, 30)).save(s[3] / '12.png'),
        '12.png is a gray or palette PNG',
    ),
    'prediction of another size': (
        lambda s: repaint(s[3] / '12.png', lambda p: p[:20]),
        '12.png is 40 x 20 pixels',
    ),
    'GT of another size than its JSON': (
        lambda s: repaint(s[1] / '12.png', lambda p: p[:20]),
        '12.png is 40 x 20 pixels but',
    ),
    'id in PNG only': (
        lambda s: edit(s[2], lambda c: first(c)['segments_info'].pop() and None),
        '11.png has the segment id 70000, which',
    ),
    'id in JSON only': (
        lambda s: repaint(s[3] / '11.png', lambda p: black_out(p, (7, 0, 0))),
        'pred.json .image 11. has the segment id 7',
    ),
    'absent id of a prediction with area 0': (
        lambda s: edit(
            s[2], lambda c: first(c)['segments_info'].append(dict(segment_of(c), id=99, area=0))
        ),
        'pred.json .image 11. has the segment id 99',
    ),
    'GT id in PNG only': (
        lambda s: edit(s[0], lambda c: first(c)['segments_info'].pop() and None),
        '11.png has the segment id 70000, which',
    ),
    'GT id in JSON only': (
        lambda s: repaint(s[1] / '11.png', lambda p: black_out(p, (7, 0, 0))),
        'gt.json .image 11. has the segment id 7',
    ),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_one_sentence(sides, name):
    spoil, words = BAD[name]
    spoil(sides)
    with pytest.raises(UserError, match=words) as caught:
        evaluate_folders(*map(str, sides))
    assert '\n' not in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError) == ('missing' in name)


def test_figures_are_there_though_their_file_is_not(sides):
    done = run(*sides, '--json', '/dev/full')
    assert done.returncode == 1 and 'All       |' in done.stdout
    assert 'cannot be written to /dev/full' in done.stderr and done.stderr.count('\n') == 1
    before = sides[2].read_bytes()
    done = run(*sides, '--json', sides[2])
    assert done.returncode == 2 and 'would be written over' in done.stderr
    assert sides[2].read_bytes() == before


def test_bad_input_at_the_command_line(sides):
    (sides[3] / '12.png').unlink()
    done = run(*sides)
    assert (
        done.returncode in (1, 2)
        and 'Traceback' not in done.stderr
        and '12.png does not exist' in done.stderr
    )
    assert run(*sides[:3]).returncode == 2
    done = run(*sides, '--json', '/nowhere/out.json')
    assert done.returncode == 2 and '/nowhere/out.json' in done.stderr
