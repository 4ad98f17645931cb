"""Panoptic planes as folders in COCO's format, and their PQ by three other programs.

They are panopticapi (the COCO challenge's own code), hotcoco and vernier. Each gives the figures
(pq, sq, rq) as fractions, by category id and under ``All``, ``Things`` and ``Stuff``. What does not
occur in truth or guess may be left out.
"""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Figures = dict[int | str, tuple[float, float, float]]
KEYS = ('pq', 'sq', 'rq')
GROUPS = ('All', 'Things', 'Stuff')


def write_side(
    root: Path,
    name: str,
    planes: Mapping[int, np.ndarray],
    segments: Mapping[int, Sequence[dict]],
    categories: Sequence[dict],
) -> tuple[str, str]:
    """Write ``NAME.json`` and the PNGs in ``NAME/``; the two paths are returned.

    ``planes`` are ids (H, W) by image id, ``segments`` the ``segments_info`` of each.
    """
    folder = root / name
    folder.mkdir(exist_ok=True)
    annotations, images = [], []
    for image_id, plane in planes.items():
        colors = np.stack([plane % 256, plane // 256 % 256, plane // 65536], -1).astype(np.uint8)
        Image.fromarray(colors).save(folder / f'{image_id}.png')
        height, width = plane.shape
        images.append(dict(id=image_id, file_name=f'{image_id}.jpg', height=height, width=width))
        annotations.append(
            dict(
                image_id=image_id,
                file_name=f'{image_id}.png',
                segments_info=[dict(segment) for segment in segments[image_id]],
            )
        )
    content = dict(images=images, categories=list(categories), annotations=annotations)
    path = folder.with_suffix('.json')
    path.write_text(json.dumps(content))
    return str(path), str(folder)


def ours(figures: Mapping[str, dict]) -> Figures:
    """Those of ``evaluate_folders`` in the form of the others."""
    rows = {group: figures[group] for group in GROUPS} | dict(figures['per_class'])
    return {place: tuple(row[key] for key in KEYS) for place, row in rows.items()}


def by_panopticapi(truth: tuple[str, str], guess: tuple[str, str]) -> Figures:
    """In this process; ``pq_compute`` starts one process per core. No figure where it fails."""
    from panopticapi.evaluation import pq_compute_single_core

    true, predicted = (json.loads(Path(side[0]).read_text()) for side in (truth, guess))
    categories = {category['id']: category for category in true['categories']}
    of_image = {entry['image_id']: entry for entry in predicted['annotations']}
    pairs = [(entry, of_image[entry['image_id']]) for entry in true['annotations']]
    with contextlib.redirect_stdout(io.StringIO()):
        counts = pq_compute_single_core(0, pairs, truth[1], guess[1], categories)
    found: Figures = {}
    for group, isthing in zip(GROUPS, (None, True, False)):
        try:
            means, per_class = counts.pq_average(categories, isthing)
        except ZeroDivisionError:  # no category of the group occurs
            continue
        for place, row in {group: means, **(per_class if isthing is None else {})}.items():
            found[place] = tuple(row[key] for key in KEYS)
    return found


def by_hotcoco(truth: tuple[str, str], guess: tuple[str, str]) -> Figures:
    """A category or group that does not occur has -1 in its results and is left out."""
    from hotcoco.panoptic import PanopticEval

    evaluation = PanopticEval(truth[0], guess[0], gt_folder=truth[1], pred_folder=guess[1])
    evaluation.evaluate()
    results = evaluation.results()
    rows = {group: results[group] for group in GROUPS} | dict(results['per_class'])
    return {
        place: tuple(row[key] for key in KEYS) for place, row in rows.items() if row['pq'] != -1
    }


def by_vernier(truth: tuple[str, str], guess: tuple[str, str]) -> Figures:
    """Without Things and Stuff, of which it refuses an empty one.

    Its mode 'strict' counts as panopticapi does. The other one, 'corrected', forgives a prediction
    on any crowd of its category, where panopticapi looks at the last one of the image.
    """
    from vernier.panoptic import Dataset, Evaluator, Predictions, decode_label_map_png

    def arrays(side: tuple[str, str]) -> tuple[dict, bytes, dict]:
        content = json.loads(Path(side[0]).read_text())
        entries = content['annotations']
        maps = {
            entry['image_id']: decode_label_map_png(f'{side[1]}/{entry["file_name"]}')
            for entry in entries
        }
        listed = {str(entry['image_id']): entry['segments_info'] for entry in entries}
        return maps, json.dumps(listed).encode(), content

    maps, segments, content = arrays(truth)
    categories = json.dumps(content['categories']).encode()
    truth_data = Dataset.from_arrays(maps, segments, categories)
    guess_data = Predictions.from_arrays(*arrays(guess)[:2])
    try:
        counted = Evaluator(parity_mode='strict', things_stuff_split=False)
        summary = counted.evaluate(truth_data, guess_data)
    except ValueError as error:
        if 'is empty' not in str(error):
            raise
        return {}
    found: Figures = {
        category: (row.pq, row.sq, row.rq) for category, row in summary.per_class().items()
    }
    return found | dict(All=(summary.pq, summary.sq, summary.rq))


ORACLES = dict(panopticapi=by_panopticapi, hotcoco=by_hotcoco, vernier=by_vernier)
