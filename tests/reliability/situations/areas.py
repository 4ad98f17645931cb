"""A number in the JSON is believed where the pixels know better."""

from trial.place import Place
from trial.situation import EVALUATE, TEST, TRAIN, Found, Wrong, section

from .common import each_segment, first_segment, pq, trains, truth_itself

kind = section(
    'Areas in the JSON',
    'Pixels are counted in the PNGs. What the JSON states as `area` enters no figure; where '
    'it disagrees with the pixels, a warning says so. With `--as-panopticapi` the command '
    'line trusts it, as panopticapi does.',
)

AS_PANOPTICAPI = f'{EVALUATE} --as-panopticapi'
REPORT = 'https://github.com/facebookresearch/detectron2/issues/5420'
FROM_PNGS = """
from copy import deepcopy
evaluated = [step for step in _base_.test_pipeline if step['type'] != 'LoadPanopticIndexMap']
test_dataloader = dict(dataset=dict(pipeline=evaluated))
del deepcopy, evaluated
"""


def scaled(factor: float):
    return each_segment(lambda segment: segment.update(area=int(segment['area'] * factor)))


for amount, factor in (('a quarter of', 0.25), ('four times', 4), ('half of', 0.5)):

    @kind(
        f'Each area of the truth is {amount} the true one; the truth is scored against itself',
        EVALUATE,
        word=r'area',
        report=REPORT,
    )
    def evaluated(place: Place, factor: float = factor) -> Found:
        return truth_itself(place, scaled(factor))


@kind('Each area of the truth is half as large again; panopticapi is followed', AS_PANOPTICAPI)
def followed(place: Place) -> Found:
    from panopticapi.evaluation import pq_compute_single_core

    place.copy_truth()
    place.edit(scaled(1.5), 'val')
    truth, predicted = place.content('val'), place.content('pred')
    categories = {category['id']: category for category in truth['categories']}
    pairs = list(zip(truth['annotations'], predicted['annotations']))
    folders = str(place.pngs('val')), str(place.pngs('pred'))
    figures = pq_compute_single_core(0, pairs, *folders, categories)
    right = 100 * figures.pq_average(categories, isthing=None)[0]['pq']
    return Found(place.evaluate('val', 'pred', '--as-panopticapi')['All'], right, 'PQ', 1e-6)


@kind(
    'Each area of the truth is a quarter of the true one; panopticapi is followed',
    AS_PANOPTICAPI,
    told='100 %',
    report=REPORT,
)
def followed_above(place: Place) -> Wrong:
    place.copy_truth()
    place.edit(scaled(0.25), 'val')
    figures = place.evaluate('val', 'pred', '--as-panopticapi')
    return Wrong(f'PQ {figures["All"]:.2f} without a word')


@kind('The areas of the prediction are wrong; it equals the truth', EVALUATE)
def prediction(place: Place) -> Found:
    place.copy_truth()
    place.edit(scaled(0.25), 'pred')
    return Found(place.evaluate('val', 'pred')['All'], 100.0, 'PQ')


@kind(
    'The segments have no area, as 2channels2panoptic_coco_format.py writes them',
    EVALUATE,
    report='https://github.com/cocodataset/panopticapi/issues/57',
)
def missing(place: Place) -> Found:
    return truth_itself(place, each_segment(lambda segment: segment.pop('area')))


@kind('Each area of the truth is a quarter of the true one', TRAIN)
def trained(place: Place) -> Found:
    place.edit(scaled(0.25))
    return trains(place)


@kind('Each area of the truth is a quarter of the true one', TEST)
def tested(place: Place) -> Found:
    place.edit(scaled(0.25))
    return pq(place)


@kind(
    'The metric reads the truth from the PNGs, and each area is a quarter of the true one',
    TEST,
    word=r'area',
)
def from_pngs(place: Place) -> Found:
    place.edit(scaled(0.25))
    return pq(place, FROM_PNGS)


for form, area, told in (
    ('text', '3044', r'area.*3044|3044.*area'),
    ('null', None, r'area.*(None|null)'),
    ('negative', -5, r'area.*-5'),
):

    @kind(f'An area of the truth is {form}', EVALUATE, told=told, word=r'area')
    def formed(place: Place, area=area) -> Found:
        return truth_itself(place, first_segment(area=area))


@kind('An area of the truth is 0 although the segment has pixels', EVALUATE, word=r'area')
def zero(place: Place) -> Found:
    return truth_itself(place, first_segment(area=0))
