"""Random panoptic images in COCO's files, and what two models that err predict of them."""

from pathlib import Path

import numpy as np
import pytest
from cmt_deeplab.analysis.saved.evaluation import evaluate_saved
from cmt_deeplab.own_data.panoptic_folder import PanopticSplit
from PIL import Image
from pq_oracles import write_side

CATEGORIES = [
    dict(id=i, name=name, isthing=int(name.islower()))
    for i, name in ((200, 'Sky'), (7, 'cat'), (9, 'dog'), (31, 'Sea'), (40, 'never seen'))
]
SHAPE = 60, 80


def draw_segments(rng, number=8):
    """A plane of ids with a margin of void, and the ids in it."""
    plane = np.zeros(SHAPE, np.uint32)
    for i in rng.choice(5000, number, replace=False) + 1:
        y, x = rng.integers(0, SHAPE[0] - 8), rng.integers(0, SHAPE[1] - 8)
        plane[y : y + rng.integers(6, 40), x : x + rng.integers(6, 50)] = i
    plane[:3] = 0
    return plane, np.setdiff1d(plane, [0]).tolist()


def guess_of(rng, plane, segments, wrong):
    """A prediction: the truth shifted, with some classes and masks changed, and with scores."""
    guess = np.roll(plane, rng.integers(0, 4), axis=1)
    for segment in segments:
        if rng.random() < wrong:  # its left half gets an id of its own
            rows, columns = np.nonzero(guess == segment['id'])
            if len(columns):
                half = columns < np.median(columns)
                guess[rows[half], columns[half]] = 6000 + segment['id']
    classes = {s['id']: s['category_id'] for s in segments}
    found = []
    for i in np.setdiff1d(guess, [0]).tolist():
        category = classes[i % 6000]
        if rng.random() < wrong:
            category = int(rng.choice([200, 7, 9, 31]))
        found.append(dict(id=i, category_id=category, score=round(float(rng.random()), 4)))
    return guess, found


@pytest.fixture(scope='session')
def files(tmp_path_factory):
    """The truth, and the JSON and folder of two predictions, of which the second one is better."""
    root, rng = tmp_path_factory.mktemp('saved'), np.random.default_rng(5)
    planes, segments = {}, {}
    guesses = [({}, {}), ({}, {})]
    (root / 'images').mkdir()
    for image_id in range(1, 13):
        plane, ids = draw_segments(rng)
        planes[image_id] = plane
        segments[image_id] = [
            dict(
                id=i,
                category_id=int(rng.choice([200, 7, 9, 31])),
                iscrowd=int(rng.random() < 0.1),
                area=int((plane == i).sum()),
            )
            for i in ids
        ]
        for wrong, (maps, found) in zip((0.3, 0.1), guesses):
            maps[image_id], found[image_id] = guess_of(rng, plane, segments[image_id], wrong)
        noise = rng.integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
        Image.fromarray(noise).save(root / 'images' / f'{image_id}.jpg')
    json_file, folder = write_side(root, 'truth', planes, segments, CATEGORIES)
    truth = PanopticSplit('truth', Path(json_file), root / 'images', Path(folder))
    sides = [
        write_side(root, name, *guess, CATEGORIES) for name, guess in zip(('one', 'other'), guesses)
    ]
    return truth, *sides


@pytest.fixture(scope='session')
def evaluations(files):
    truth, *predictions = files
    return [evaluate_saved(truth, json_file, warn=len) for json_file, _ in predictions]
