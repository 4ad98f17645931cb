"""A COCO panoptic JSON with one thing changed: a result, or one sentence, and everywhere the same.

One reader is that of training, the data set; the other that of the command line, which has the
file as truth and as prediction.
"""

import copy
import json

import numpy as np
import pytest
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import DATASETS
from PIL import Image
from pq_oracles import write_side

CATEGORIES = [
    dict(id=1, name='cat', isthing=1, color=[220, 20, 60], supercategory='animal'),
    dict(id=5, name='sky', isthing=0, color=[0, 90, 200], supercategory='sky'),
]
PLANES = {3: np.array([[1, 1, 70000], [0, 1, 70000]]), 9: np.array([[2, 2], [0, 300]])}
SEGMENTS = {
    3: [dict(id=1, category_id=1), dict(id=70000, category_id=5)],
    9: [dict(id=2, category_id=1), dict(id=300, category_id=1, iscrowd=1)],
}
OF_THE_DATA_SET = ('no list "images"', 'no image', 'without "name"', 'no annotation for image')
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap')]
PIPELINE = [*LOAD, dict(type='PackPanopticInputs', crowd_as_void=False)]


@pytest.fixture(scope='module')
def truth(folder):
    """The JSON and the folder of its PNGs, beside which the images lie."""
    for listed in (segment for segments in SEGMENTS.values() for segment in segments):
        listed.update(iscrowd=listed.get('iscrowd', 0), bbox=[0, 0, 1, 1], area=1)
    path, pngs = write_side(folder, 'truth', PLANES, SEGMENTS, CATEGORIES)
    for image_id, plane in PLANES.items():
        Image.fromarray(np.zeros((*plane.shape, 3), np.uint8)).save(f'{pngs}/{image_id}.jpg')
    content = json.loads((folder / 'truth.json').read_text())
    content['info'], content['licenses'] = dict(year=2017), []
    return content, path, pngs


def places(value, path=()) -> list[tuple]:
    """The keys that lead to each entry of nested dicts and lists."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    found = [(*path, key) for key in keys]
    return [*found, *(place for key in keys for place in places(value[key], (*path, key)))]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 5, 9, 300, 70000, 1 << 24, 1 << 70, 1.0, 1.5, 3.0, 1e300]),
    st.sampled_from([float('nan'), float('inf')]),
    st.sampled_from(['', '1', '0', '3', 'cat', 'true', '#dc143c', '../x.png', 'a\nb', '\ud800']),
    st.text(max_size=3),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(['id', 'name', 'category_id', '']), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def changes(draw):
    """A function that changes one place of the content, by a new value, removal or repetition."""
    which, how = (
        draw(st.integers(0, 1 << 16)),
        draw(st.sampled_from(['set', 'set', 'drop', 'twice'])),
    )
    value = draw(VALUES)

    def change(content: dict) -> tuple:
        found = places(content)
        *parents, last = place = found[which % len(found)]
        holder = content
        for key in parents:
            holder = holder[key]
        if how == 'drop':
            del holder[last]
        elif how == 'twice' and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[last] = value
        return place

    return change


def said(read, path: str, pngs: str) -> str | None:
    """What a reader refuses the file with; anything but one sentence fails."""
    try:
        read(path, pngs)
    except UserError as error:
        sentence = str(error)
        assert sentence and '\n' not in sentence and len(sentence) < 600, sentence
        return sentence
    return None


def train(path: str, pngs: str) -> None:
    dataset = DATASETS.build(
        dict(
            type='PanopticIndexDataset',
            ann_file=path,
            data_prefix=dict(img=pngs, seg=pngs),
            pipeline=PIPELINE,
            test_mode=True,
        )
    )
    assert all(dataset[index]['data_samples'] for index in range(len(dataset)))


def evaluate(path: str, pngs: str) -> None:
    evaluate_folders(path, pngs, path, pngs, warn=len)


@given(change=changes())
def test_one_change_is_accepted_or_refused_alike(truth, change):
    content, path, pngs = truth
    content = copy.deepcopy(content)
    place = change(content)
    with open(path, 'w') as stream:
        json.dump(content, stream)
    trained, evaluated = said(train, path, pngs), said(evaluate, path, pngs)
    if trained and not evaluated:  # the command line needs neither names nor a list of images
        assert any(words in trained for words in OF_THE_DATA_SET), (place, trained)
    if evaluated and not trained:  # a test set, whose truth is withheld
        assert 'has no ground truth' in evaluated, (place, evaluated)


@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | VALUES)
def test_any_file_is_refused_in_one_sentence(truth, data):
    _, path, pngs = truth
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    with open(path, 'wb') as stream:
        stream.write(data)
    assert said(train, path, pngs) and said(evaluate, path, pngs)
