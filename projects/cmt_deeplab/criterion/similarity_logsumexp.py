"""Row-wise logsumexp of a similarity matrix that is never kept."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EXCLUDED = -1e30  # finite, so that a row without any valid column stays free of nan


class _WeightedLogSumExp(torch.autograd.Function):
    """``sum_a w_a logsumexp_{b valid} (f_a . f_b / t)``; the gradient is formed on the way, a block of rows at a time.

    With ``P_ab = softmax_b`` the gradient is ``(w P + (w P)^T) f / t``: three products of the size of the matrix, as in autograd, yet only
    an (n, D) gradient is kept for the backward pass, where autograd keeps the (n, n) matrix of every image and stage.
    """

    @staticmethod
    def forward(
        ctx, feature: Tensor, valid: Tensor, weight: Tensor, temperature: float, rows: int
    ) -> Tensor:
        excluded = torch.where(valid, 0.0, EXCLUDED).to(feature)  # (n,)
        scaled = feature / temperature
        needs_gradient = ctx.needs_input_grad[0]
        gradient = torch.zeros_like(feature) if needs_gradient else None
        total = feature.new_zeros(())
        for start in range(0, len(feature), rows):
            block, own_weight = feature[start : start + rows], weight[start : start + rows]
            similarity = torch.addmm(excluded, block, scaled.t())  # (r, n)
            row = torch.logsumexp(similarity, 1)
            total += (own_weight * row).sum()
            if needs_gradient:
                share = similarity.sub_(row[:, None]).exp_().mul_(own_weight[:, None])
                gradient[start : start + rows] += share @ scaled
                gradient.addmm_(share.t(), block, alpha=1 / temperature)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple:
        return grad_output * ctx.saved_tensors[0], None, None, None, None


def similarity_logsumexp(
    feature: Tensor, valid: Tensor, weight: Tensor, temperature: float, rows: int = 1024
) -> Tensor:
    """``sum_a weight_a * logsumexp over valid b of (f_a . f_b / temperature)`` of features (n, D): a scalar.

    ``valid`` (n,) bool and ``weight`` (n,) get no gradient. Memory: rows x n numbers at a time. Differentiable once.
    """
    return _WeightedLogSumExp.apply(feature, valid, weight, temperature, rows)
