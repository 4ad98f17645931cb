"""Stages that are computed together, what is kept for the backward pass, and the order of work."""

import criterion_slow_reference as slow
import pytest
import torch
from cmt_deeplab.criterion import PanopticCriterion, PanopticHungarianAssigner, loss_input
from torch import nn

SIZES = [(5, 5), (5, 5), (9, 9), (17, 17), (17, 17)]


def inputs(depth=16):
    predictions = [
        slow.make_prediction(3, 6, size, seed=i, depth=depth) for i, size in enumerate(SIZES)
    ]
    targets = [slow.make_target(4), slow.make_target(0, seed=1), slow.make_target(9, seed=2)]
    return predictions, targets, torch.randn(3, 7, 9, 9)


def results(criterion, predictions, targets, semantic_logits):
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    losses = criterion(predictions, targets, generators, semantic_logits=semantic_logits)
    leaves = [tensor for p in predictions for tensor in vars(p).values()]
    return losses, torch.autograd.grad(sum(losses.values()), leaves)


def test_stages_together_equal_each_for_itself(monkeypatch):
    criterion, given = PanopticCriterion(num_classes=6), inputs()
    criterion.losses.discrimination.num_samples = 50
    together, gradients = results(criterion, *given)
    monkeypatch.setitem(loss_input.AT_ONCE, 'cpu', 1)  # and the similarities row by row
    alone, expected = results(criterion, *given)
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(gradients, expected)


def test_no_tensor_of_the_size_of_the_masks_is_kept_beside_their_logits():
    predictions, targets, semantic_logits = inputs()
    logits = predictions[-1].mask_logits
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        PanopticCriterion(num_classes=6)(predictions, targets, semantic_logits=semantic_logits)
    large = [t for t in kept if 6 in t.shape[-2:-1] and t.numel() >= logits.numel()]
    assert [tuple(t.shape) for t in large] == [(2, 3, 6, 17 * 17)]


def test_losses_without_a_match_come_before_the_host_waits(monkeypatch):
    criterion, order, solve = PanopticCriterion(num_classes=6), [], PanopticHungarianAssigner._solve
    for key, loss in criterion.losses.items():
        terms = loss.terms
        monkeypatch.setattr(loss, 'terms', lambda g, k=key, t=terms: order.append(k) or t(g))
    monkeypatch.setattr(
        PanopticHungarianAssigner, '_solve', lambda *a: order.append('match') or solve(*a)
    )
    results(criterion, *inputs())
    assert set(order[: order.index('match')]) == {'discrimination', 'semantic'}
    assert set(order[order.index('match') + 1 :]) == {'pq', 'mask_id', 'reference_points'}


@pytest.mark.parametrize('shared', [True, False])
def test_a_matching_that_fails_is_told_once_for_the_stage_that_was_matched(shared):
    predictions, targets, _ = inputs()
    with torch.no_grad():
        predictions[-1].mask_logits[0, 0, 0, 0] = torch.nan
    losses = PanopticCriterion(num_classes=6, share_final_match=shared)(predictions, targets)
    assert [name for name in losses if 'matching' in name] == ['loss_matching_of_mask_logits']


@pytest.mark.slow
def test_the_matching_alone_breaks_the_graph_of_a_compiled_criterion():
    predictions, targets, semantic_logits = inputs()
    criterion, reasons = PanopticCriterion(num_classes=6), []
    torch._dynamo.reset()
    explained = torch._dynamo.explain(criterion)(
        predictions, targets, semantic_logits=semantic_logits
    )
    reasons = {str(reason.user_stack[-1]) for reason in explained.break_reasons}
    assert explained.graph_count >= 2 and all('assigner.py' in reason for reason in reasons)
    assert all('_solve' in reason.reason for reason in explained.break_reasons)


def test_what_a_loss_says_of_its_terms_does_not_hold_for_those_of_a_subclass():
    class Other(type(PanopticCriterion(num_classes=6).losses.discrimination)):
        def terms(self, given):
            return dict(loss=given.match.dice.sum() + given.prediction.mask_logits.mean())

    class Renamed(type(PanopticCriterion(num_classes=6).losses.discrimination)):
        pass

    assert Other.reads_match and Other.joined_by is None
    assert not Renamed.reads_match and Renamed.joined_by == 'pixel_features'
    criterion = PanopticCriterion(num_classes=6)
    criterion.losses = nn.ModuleDict(dict(own=Other()))
    losses, _ = results(criterion, *inputs()[:2], None)
    assert sorted(losses) == [*('loss_own',), *(f's{i}.loss_own' for i in range(4))]
