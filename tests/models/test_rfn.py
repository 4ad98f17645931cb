"""The recursive feature network: two passes, the second hearing the first."""

from copy import deepcopy

import pytest
import torch
from mmdet.registry import MODELS
from small_model import build_small, small_config

FEEDBACK = dict(layer1=3, layer2=2, layer3=1)


def build_rfn(**changes):
    torch.manual_seed(0)
    model = build_small(type='CMTDeepLabRFN', **{'feedback': FEEDBACK, **changes})
    for name, parameter in model.named_parameters():
        if name.startswith('feedback') and name.endswith('norm.weight'):
            torch.nn.init.constant_(parameter, 0.5)
    return model


def test_second_pass_alone_is_the_plain_network_until_feedback_opens():
    torch.manual_seed(0)
    rfn, plain = build_small(type='CMTDeepLabRFN', feedback=FEEDBACK).eval(), build_small().eval()
    plain.load_state_dict(
        {
            key: value
            for key, value in rfn.state_dict().items()
            if not key.startswith(('first_pass', 'feedback'))
        }
    )
    images = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        ours, single = rfn.network(images), plain.network(images)
    assert len(ours.decoder.predictions) == 1, 'the first pass predicts while training only'
    torch.testing.assert_close(
        ours.decoder.predictions[-1].mask_logits, single.decoder.predictions[-1].mask_logits
    )


def test_second_pass_hears_the_first_and_the_first_learns_from_both():
    model = build_rfn().train()
    output = model.network(torch.randn(2, 3, 65, 65))
    assert len(output.decoder.predictions) == 8 and len(output.decoder.assignments) == 6, (
        'four predictions and three layers a pass'
    )
    output.decoder.predictions[-1].mask_logits.square().sum().backward()
    heard = [
        name
        for name, parameter in model.first_pass.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    ]
    assert any(name.startswith('backbone') for name in heard) and any(
        name.startswith('panoptic_head.pixel_decoder') for name in heard
    )
    assert all(
        parameter.grad.abs().sum() > 0
        for name, parameter in model.feedback.named_parameters()
        if 'conv' in name
    )


def test_a_copy_has_feedback_of_its_own():
    """Moving averages copy the model; hooks that stayed would tie the copy to the original."""
    model = build_rfn().eval()
    copied, images = deepcopy(model), torch.randn(1, 3, 65, 65)
    for parameter in model.first_pass.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        assert not torch.equal(
            model.network(images).decoder.predictions[-1].mask_logits,
            copied.network(images).decoder.predictions[-1].mask_logits,
        )
    assert not any(module._forward_hooks for module in model.backbone.modules())


@pytest.mark.parametrize(
    'feedback, sentence',
    [
        (dict(layer9=1), r"feedback \['layer9'\] must name modules of PanopticResNet"),
        (dict(), 'must name modules'),
        (dict(layer1=7), 'must name stages 0 to 3 of the pixel decoder'),
    ],
)
def test_wrong_feedback_is_named(feedback, sentence):
    with pytest.raises(ValueError, match=sentence):
        MODELS.build(small_config(type='CMTDeepLabRFN', feedback=feedback))


def test_a_stage_that_is_not_called_as_a_whole_is_named():
    with pytest.raises(ValueError, match='its forward calls'):
        build_small(
            type='CMTDeepLabRFN', feedback=dict(layer1=3), backbone__pre_activation_outputs=True
        )
