"""What pixels and centers receive, and its gradient, beside the formulas."""

from itertools import product

import pytest
import torch
from cmt_deeplab.models.transformer import retrieval
from cmt_deeplab.models.transformer.retrieval import nearest_center, pool, retrieve, soft

SIZES = dict(logits=(2, 3, 5, 7), value=(2, 3, 4, 7), center_value=(2, 3, 4, 5))


def plain(logits, value, center_value, attend, pooled, assign) -> list:
    assignment = assign(logits).detach() if assign is nearest_center else logits.softmax(2)
    found = [
        value @ logits.softmax(3).mT if attend else None,
        value @ assignment.mT if pooled else None,
        None if center_value is None else center_value @ assignment,
    ]
    return [None if one is None else one.flatten(1, 2) for one in found]


def gradients(outputs, leaves) -> list[torch.Tensor]:
    loss = sum(one.sin().sum() for one in outputs if one is not None)
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [torch.zeros_like(x) if grad is None else grad for grad, x in zip(found, leaves)]


@pytest.mark.parametrize('at_once', [retrieval.IN_CACHE, 0])
@pytest.mark.parametrize('assign', [soft, nearest_center])
@pytest.mark.parametrize(
    'attend, pooled, heard', [each for each in product([True, False], repeat=3) if any(each)]
)
def test_outputs_and_gradients_equal_the_formulas(
    attend, pooled, heard, assign, at_once, monkeypatch
):
    """All heads at once and, where there are more than ``at_once`` logits, one head at a time."""
    monkeypatch.setattr(retrieval, 'IN_CACHE', at_once)
    draw = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(size, generator=draw, dtype=torch.float64).requires_grad_()
        for size in SIZES.values()
    ]
    logits, value, center_value = leaves
    center_value = center_value if heard else None
    ours = retrieve(logits, value, center_value, attend=attend, pooled=pooled, assign=assign)
    theirs = plain(logits, value, center_value, attend, pooled, assign)
    for one, other in zip(ours, theirs):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)
    torch.testing.assert_close(gradients(ours, leaves), gradients(theirs, leaves))


def test_only_the_inputs_are_kept_for_the_gradient():
    kept = []
    logits, value = (torch.randn(SIZES[name]).requires_grad_() for name in ('logits', 'value'))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        retrieve(logits, value, pooled=True)
    assert {x.data_ptr() for x in kept} == {logits.data_ptr(), value.data_ptr()}


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_sums_beyond_the_range_of_fp16_stay_finite(dtype):
    value, assignment = torch.full((1, 1, 1, 30000), 4.0), torch.ones(1, 1, 1, 30000)
    with torch.autocast('cpu', torch.float16):  # some norms leave values in fp32 there
        sums = pool(value.to(dtype), assignment.to(dtype))
    assert sums.dtype == torch.float32 and sums.item() == pytest.approx(120000.0, rel=1e-3)
