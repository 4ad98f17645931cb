"""The command lines on saved predictions: figures, forms of the arguments, pages and mistakes."""

import json
import re

import cv2
import numpy as np
import pytest
from cmt_deeplab.analysis.saved.page import best_and_worst
from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders
from pq_oracles import by_panopticapi, ours
from run_tool import run_tool

EVAL, ANALYZE, CONFUSION = (
    f'analysis_tools/{name}.py' for name in ('eval_metric', 'analyze_results', 'confusion_matrix')
)


def edited(path, target, **changes):
    """A copy of a JSON with some lists changed; its PNGs stay where they are."""
    content = json.loads(open(path).read())
    for part, change in changes.items():
        content[part] = [change(entry) for entry in content[part]]
    target.write_text(json.dumps(content))
    target.with_suffix('').symlink_to(str(path).removesuffix('.json'))
    return target


def test_the_figures_are_those_of_panopticapi_and_two_models_are_compared(files, tmp_path):
    truth, one, other = files
    out = tmp_path / 'out.json'
    done = run_tool(EVAL, truth.ann_file, one[0], '--against', other[1], '--json', out)
    assert done.returncode == 0 and not done.stderr.replace('Warning', '').startswith('Error')
    found = json.loads(out.read_text())
    expected = evaluate_folders(str(truth.ann_file), str(truth.seg_dir), *one, warn=len)
    for group in ('All', 'Things', 'Stuff'):
        assert found[group] == pytest.approx(expected[group], abs=1e-9)
        assert sum(found['lost_pq'][group]['lost'].values()) == pytest.approx(
            1 - expected[group]['pq'], abs=1e-9
        )
    found['per_class'] = {int(category): row for category, row in found['per_class'].items()}
    theirs = by_panopticapi((str(truth.ann_file), str(truth.seg_dir)), one)
    for place, figures in theirs.items():
        assert ours(found)[place] == pytest.approx(figures, abs=1e-9)
    assert len(theirs) > 4
    difference = found['against']['figures']['All']['pq'] - found['All']['pq']
    assert found['against']['All']['difference'] == pytest.approx(difference, abs=1e-9)
    assert 0 < found['boundary']['All']['pq'] < found['All']['pq'] < 1
    assert len(found['images']) == 12 and set(found['calibration']) == {'ece', 'n', 'bins'}
    for words in ('95 % interval', 'lost PQ', 'Boundary PQ', 'quarters', 'Most confused', 'second'):
        assert words in done.stdout
    assert 'cat' not in run_tool(EVAL, truth.ann_file, one[0]).stdout.split('Most')[0]
    assert '\ncat ' in run_tool(EVAL, truth.ann_file, one[0], '--classwise').stdout


def test_truth_by_config_and_by_folder_and_predictions_by_any_of_their_names(files, tmp_path):
    truth, one, _ = files
    config = tmp_path / 'config.py'
    prefix = dict(img='images', seg='truth')
    config.write_text(
        'test_dataloader = dict(dataset=dict(type="PanopticIndexDataset", '
        f'data_root={str(truth.ann_file.parent)!r}, ann_file="truth.json", data_prefix={prefix}))'
    )
    expected = run_tool(EVAL, truth.ann_file, one[0]).stdout
    assert run_tool(EVAL, config, one[0]).stdout == expected
    assert run_tool(EVAL, truth.ann_file, one[1]).stdout == expected
    out = tmp_path / 'out'
    out.mkdir()
    for target in (tmp_path / 'run.panoptic.json', out / 'panoptic.json'):
        edited(one[0], target)
    for argument in (tmp_path / 'run', out):
        assert run_tool(EVAL, truth.ann_file, argument).stdout == expected
    moved = tmp_path / 'moved.json'
    moved.write_text(truth.ann_file.read_text())
    done = run_tool(EVAL, moved, one[0], '--seg-prefix', truth.seg_dir)
    assert done.stdout == expected


def test_classes_and_images_are_those_of_the_same_names(files, tmp_path):
    truth, one, _ = files
    expected = run_tool(EVAL, truth.ann_file, one[0]).stdout
    changed = edited(
        one[0],
        tmp_path / 'labels.json',
        categories=lambda c: c | dict(id=500 - c['id']),
        images=lambda i: i | dict(id=f'name {i["id"]}', file_name=f'x/{i["id"]}.png'),
        annotations=lambda a: (
            a
            | dict(
                image_id=f'name {a["image_id"]}',
                segments_info=[
                    s | dict(category_id=500 - s['category_id']) for s in a['segments_info']
                ],
            )
        ),
    )
    assert run_tool(EVAL, truth.ann_file, changed).stdout == expected


def test_the_page_shows_the_best_and_the_worst_images(files, evaluations, tmp_path):
    truth, one, _ = files
    done = run_tool(
        ANALYZE, truth.ann_file, one[0], tmp_path, '--topk', 3, '--img-prefix', truth.img_dir
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(tmp_path / 'index.html')
    page = (tmp_path / 'index.html').read_text()
    named = re.findall(r'src="([^"]+)"', page)
    assert len(named) == len({*named}) == 6 + 2 * 3
    for name in named:
        assert cv2.imread(str(tmp_path / name)).std() > 10
    qualities = [float(text) for text in re.findall(r'image \d+, PQ ([\d.]+)', page)[::2]]
    expected = sorted(round(image.quality, 1) for image in evaluations[0].images)
    assert qualities == [*expected[-3:][::-1], *expected[:3]]
    assert json.loads((tmp_path / 'analysis.json').read_text())['All'] == pytest.approx(
        evaluations[0].figures['All']
    )
    chosen = best_and_worst(evaluations[0].images, 20)
    assert len(chosen['good']) == len(chosen['bad']) == 6  # of 12 none is in both


def test_the_matrices_are_written_as_numbers_and_pictures(files, evaluations, tmp_path):
    truth, one, _ = files
    done = run_tool(CONFUSION, truth.ann_file, one[0], tmp_path, '--color-theme', 'viridis')
    content = json.loads((tmp_path / 'confusion.json').read_text())
    assert content['classes'] == [*evaluations[0].names, 'void'] and 'taken for' in done.stdout
    for unit in ('pixels', 'segments'):
        assert np.array_equal(content[unit], evaluations[0].confusion[unit])
        assert cv2.imread(str(tmp_path / f'confusion_{unit}.png')).std() > 10
    done = run_tool(CONFUSION, truth.ann_file, one[0], tmp_path, '--color-theme', 'no')
    assert done.returncode == 1 and "no color map 'no'" in done.stderr


def test_mistakes_are_one_sentence(files, tmp_path):
    truth, one, _ = files
    config = tmp_path / 'config.py'
    config.write_text('model = dict(type="X")')
    renamed = edited(
        one[0], tmp_path / 'renamed.json', categories=lambda c: c | dict(name=f'{c["name"]}s')
    )
    for arguments, sentence in (
        ((truth.ann_file, tmp_path / 'nothing'), 'There are no predictions at .*nothing'),
        ((tmp_path / 'no.json', one[0]), 'no.json does not exist'),
        ((config, one[0]), 'has no ann_file with data_prefix.seg'),
        ((truth.ann_file, renamed), "segment of .*s', which .*truth.json lacks .is .* meant"),
    ):
        done = run_tool(EVAL, *arguments)
        assert done.returncode == 1 and re.search(sentence, done.stderr), done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = run_tool(ANALYZE, truth.ann_file, one[0], tmp_path / 'page')
    assert done.returncode == 1 and '--img-prefix' in done.stderr
