"""Names of version 0.1.0, with which checkpoints still load."""

import torch
from cmt_deeplab.renamed import rename_weights
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
