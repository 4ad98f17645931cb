"""PQ of files in COCO's panoptic format beside that of hotcoco, vernier and panopticapi.

The predictions are the truth itself, shifted by some pixels and written anew. All read the JSONs
and PNGs and give the same PQ; panopticapi works in this process alone.
"""

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
from cmt_deeplab.coco_format import colors_of_ids, read_id_plane
from cmt_deeplab.errors import MissingPackageError
from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders
from harness import Subject
from metric import SHIFT
from PIL import Image

Sides = tuple[str, str, str, str]  # truth and prediction, each a JSON and its folder


def write_sides(args: argparse.Namespace, place: Path) -> Sides:
    """The first images of the truth, and the predictions for them in a folder."""
    source = Path(args.data_root) / f'annotations/panoptic_{args.split}.json'
    content = json.loads(source.read_text())
    truth, folder = content['annotations'][: args.images], place / 'prediction'
    listed = {entry['image_id'] for entry in truth}
    images = [image for image in content['images'] if image['id'] in listed]
    folder.mkdir()
    predicted = []
    for entry in truth:
        name, segments = entry['file_name'], entry['segments_info']
        plane = np.roll(read_id_plane(str(source.with_suffix('') / name)), SHIFT, axis=1)
        Image.fromarray(colors_of_ids(plane)).save(folder / name)
        segments = [{key: segment[key] for key in ('id', 'category_id')} for segment in segments]
        predicted.append(dict(entry, segments_info=segments))
    parts = dict(categories=content['categories'], images=images)
    for name, entries in (('truth', truth), ('prediction', predicted)):
        (place / f'{name}.json').write_text(json.dumps(parts | dict(annotations=entries)))
    paths = place / 'truth.json', source.with_suffix(''), place / 'prediction.json', folder
    return tuple(map(str, paths))


def of_hotcoco(sides: Sides) -> float:
    from hotcoco.panoptic import PanopticEval

    evaluation = PanopticEval(sides[0], sides[2], gt_folder=sides[1], pred_folder=sides[3])
    evaluation.evaluate()
    return evaluation.results()['All']['pq']


def of_vernier(sides: Sides) -> float:
    from vernier.panoptic import Dataset, Evaluator, Predictions, decode_label_map_png

    parts = []
    for path, folder in (sides[:2], sides[2:]):
        content = json.loads(Path(path).read_text())
        entries = {entry['image_id']: entry for entry in content['annotations']}
        maps = {i: decode_label_map_png(f'{folder}/{e["file_name"]}') for i, e in entries.items()}
        segments = {str(i): entry['segments_info'] for i, entry in entries.items()}
        parts.append((maps, json.dumps(segments).encode()))
    categories = json.dumps(content['categories']).encode()
    truth, guess = Dataset.from_arrays(*parts[0], categories), Predictions.from_arrays(*parts[1])
    return Evaluator(parity_mode='strict', things_stuff_split=False).evaluate(truth, guess).pq


def of_panopticapi(sides: Sides) -> float:
    from panopticapi.evaluation import pq_compute_single_core

    true, guess = (json.loads(Path(path).read_text()) for path in (sides[0], sides[2]))
    categories = {category['id']: category for category in true['categories']}
    of_image = {entry['image_id']: entry for entry in guess['annotations']}
    pairs = [(entry, of_image[entry['image_id']]) for entry in true['annotations']]
    with contextlib.redirect_stdout(io.StringIO()):
        counts = pq_compute_single_core(0, pairs, sides[1], sides[3], categories)
    return counts.pq_average(categories, isthing=None)[0]['pq']


def of_ours(sides: Sides) -> float:
    return evaluate_folders(*sides, warn=len)['All']['pq']


FORMS = dict(ours=of_ours, hotcoco=of_hotcoco, vernier=of_vernier, panopticapi=of_panopticapi)


def subjects(args: argparse.Namespace) -> Iterator[Subject]:
    for name in ('hotcoco.panoptic', 'vernier.panoptic', 'panopticapi.evaluation'):
        try:
            import_module(name)
        except ImportError as error:
            raise MissingPackageError(
                f'The benchmark evaluate needs {name.partition(".")[0]}: pip install hotcoco '
                'vernier, and pip install --no-deps panopticapi-lite.'
            ) from error
    with tempfile.TemporaryDirectory() as place:
        sides = write_sides(args, Path(place))
        steps = {name: lambda form=form: [form(sides)] for name, form in FORMS.items()}
        subject = Subject.of_steps(steps, title=f'evaluate, {args.images} images', runs=5)
        subject.with_memory = False  # torch knows nothing of it
        subject.peers = [*FORMS][1:]
        yield subject
