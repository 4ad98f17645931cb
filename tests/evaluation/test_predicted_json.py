"""Which image of the truth a prediction belongs to."""

import json

import pytest
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation.predicted_json import read_predictions


def content(names: dict[int, str]) -> dict:
    size = dict(height=4, width=4)
    return dict(
        images=[dict(id=number, file_name=name, **size) for number, name in names.items()],
        annotations=[
            dict(image_id=number, file_name=f'{name}.png', segments_info=[])
            for number, name in names.items()
        ],
        categories=[dict(id=1, name='a', isthing=1)],
    )


def predicted(tmp_path, names: dict[int, str], truth: dict[int, str]) -> dict[int, str]:
    """The PNG of each image of the truth."""
    file = tmp_path / 'panoptic.json'
    file.write_text(json.dumps(content(names)))
    found = read_predictions(str(file), content(truth), 'truth.json', by_name=True)
    return {number: found[number]['file_name'] for number in truth}


@pytest.mark.parametrize('order', [1, -1])
def test_names_decide_where_an_image_of_another_name_has_the_number(tmp_path, order):
    names = dict([(3, '3.png'), (7, '7.png'), (11, '11.png'), (10, '10.png')][::order])
    truth = {3: '11.png', 10: 'val/7.png'}
    assert predicted(tmp_path, names, truth) == {3: '11.png.png', 10: '7.png.png'}
    with pytest.raises(UserError, match='truth.json'):  # 12 has no prediction, though 3 exists
        predicted(tmp_path, names, {3: '12.png', 10: '7.png'})


def test_numbers_decide_where_no_name_is_known(tmp_path):
    assert predicted(tmp_path, {3: 'x.png'}, {3: 'y.png'}) == {3: 'x.png.png'}
