"""A network with the matching and the losses of mmdet's Mask2Former."""

import torch
from mask2former_criterion import MASK2FORMER
from small_model import build_small
from test_detector import losses_of, make_batch, open_gammas


def test_every_tensor_of_a_network_learns_from_mmdets_losses():
    classes = dict(MASK2FORMER['losses']['loss_cls'], class_weight=[1.0] * 5 + [0.1])
    losses = dict(MASK2FORMER['losses'], loss_cls=classes)
    torch.manual_seed(0)
    model = build_small(
        criterion=dict(type='PanopticCriterion', **dict(MASK2FORMER, losses=losses)),
        panoptic_head__semantic_head=None,
    ).train()
    open_gammas(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    totals = []
    for _ in range(8):
        total = sum(losses_of(model, make_batch((12, 3))).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.9 * totals[0]
    silent = {name for name, p in model.named_parameters() if not p.grad.abs().max() > 0}
    # A shift of all masks leaves their softmax, so its gradient is 0 or a rounding error.
    assert not [name for name in silent if not name.endswith('mask_norm.bias')], silent
