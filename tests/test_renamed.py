"""Names of version 0.1.0: checkpoints still load, configs are told the present name."""

import pytest
import torch
from cmt_deeplab.construction import config_entries
from cmt_deeplab.errors import UserError
from cmt_deeplab.renamed import refuse_old_keys, rename_weights
from torch import nn


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(2))
        self.center_norm = nn.BatchNorm1d(3)
        self._register_load_state_dict_pre_hook(rename_weights)


def test_a_checkpoint_with_old_names_loads():
    torch.manual_seed(0)
    source = Decoder()
    nn.init.normal_(source.centers)
    old = {name.replace('center', 'centre'): value for name, value in source.state_dict().items()}
    decoder = nn.Sequential(Decoder())
    decoder.load_state_dict({f'0.{name}': value for name, value in old.items()})
    assert torch.equal(decoder[0].centers, source.centers)


@pytest.mark.parametrize(
    'config, sentence',
    [
        (dict(num_centres=8), 'model.panoptic_head.num_centres is called num_centers now'),
        (
            dict(layers=[dict(type='A'), dict(cfg=dict(centre_channels=8))]),
            r'model.panoptic_head.layers.1.cfg.centre_channels is called center_channels now',
        ),
    ],
)
def test_an_old_key_of_a_config_is_told_the_new_one(config, sentence):
    with pytest.raises(UserError, match=sentence):
        refuse_old_keys(config, 'model.panoptic_head')


def test_a_config_with_present_names_passes():
    refuse_old_keys(dict(num_centers=8, layers=[dict(center_channels=8), None]), 'model')
    assert dict(config_entries(dict(a=[dict(b=1)]))) == {
        'a': [dict(b=1)],
        'a.0': dict(b=1),
        'a.0.b': 1,
    }
