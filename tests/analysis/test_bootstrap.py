"""The bootstrap against PQ counted from lists of images that were drawn one by one."""

from types import SimpleNamespace

import numpy as np
import pytest
from cmt_deeplab.analysis.saved.bootstrap import bootstrap, count_array, drawn_pq, rare_classes
from cmt_deeplab.analysis.saved.texts import interval_text
from cmt_deeplab.evaluation.pq import aggregate
from cmt_deeplab.remarks import ImageScore


def test_pq_of_draws_is_that_of_the_drawn_images(evaluations):
    evaluation = evaluations[0]
    number, rng = len(evaluation.images), np.random.default_rng(2)
    drawn = rng.integers(0, number, (20, number))
    weights = np.array([np.bincount(places, minlength=number) for places in drawn])
    counts = count_array(evaluation.images, [*evaluation.kinds])
    expected = [
        aggregate([evaluation.images[k].counts for k in places], evaluation.kinds)['All']['pq']
        for places in drawn
    ]
    assert drawn_pq(counts, weights) == pytest.approx(expected)
    assert len({*expected}) == 20


def test_the_difference_of_two_models_on_the_same_draws(evaluations):
    one, other = (evaluation.images for evaluation in evaluations)
    kinds = evaluations[0].kinds
    found = bootstrap([one, other], kinds)
    for group in ('All', 'Things', 'Stuff'):
        pq, better = (evaluation.figures[group]['pq'] for evaluation in evaluations)
        row = found[group]
        assert row['difference'] == pytest.approx(better - pq)
        low, high = row['interval']
        assert low < row['difference'] < high
        widths = [np.diff(interval)[0] for interval in row['intervals']]
        assert high - low < sum(widths) and min(widths) > 0
    assert found['All']['interval'][0] > 0 and found['All']['better'] > 0.9
    assert found == bootstrap([one, other], kinds)
    assert found != bootstrap([one, other], kinds, seed=1)
    same = bootstrap([one, one], kinds)['All']
    assert same['interval'] == [0, 0] and same['difference'] == same['better'] == 0
    assert bootstrap([one], kinds)['All'] == dict(intervals=found['All']['intervals'][:1])


def test_intervals_hold_the_pq_of_many_images_where_classes_are_rare():
    rng, frequency = np.random.default_rng(0), np.geomspace(0.8, 0.03, 20)
    true = rng.poisson(1.2 * frequency, (1500, 20))
    models = []
    for skill in (0.6, 0.65):
        found, spurious = rng.binomial(true, skill), rng.poisson(0.15 * frequency, true.shape)
        table = np.stack([0.8 * found, found, spurious, true - found], axis=-1).tolist()
        models.append([ImageScore(0, dict(enumerate(row)), (), (), ()) for row in table])
    kinds = dict.fromkeys(range(20), True)
    one, other = (aggregate((i.counts for i in m), kinds)['All']['pq'] for m in models)
    held = []
    for places in rng.integers(0, 1500, (25, 60)):
        chosen = [[model[k] for k in places] for model in models]
        row = bootstrap(chosen, kinds, num_draws=100)['All']
        (low, high), (least, most) = row['intervals'][0], row['interval']
        held.append((low <= one <= high, least <= other - one <= most))
    assert (np.mean(held, axis=0) >= 0.9).all()


def test_an_interval_says_where_rare_classes_make_it_too_narrow():
    def images(number):
        return [ImageScore(k, {0: [0.8, 1, 0, 0], 1: [0.7, 1, 0, 0]}, (), (), ()) for k in number]

    alone = ImageScore(9, {0: [0.8, 1, 0, 0], 2: [0.9, 1, 0, 0], 3: [0, 0, 0, 0]}, (), (), ())
    assert rare_classes([*images(range(6)), alone], range(5)) == (1, 3)
    for rare, narrow in (((1, 3), True), ((1, 10), False), ((0, 0), False)):
        found = SimpleNamespace(intervals=dict(All=(0.2, 0.3)), rare_classes=rare)
        text = interval_text(found)
        assert text.startswith('95 % interval of PQ: All 20.0 to 30.0')
        assert ('too narrow: 1 of the 3 classes occur in fewer than 5 images' in text) == narrow
