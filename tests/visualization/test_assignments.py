from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput
from cmt_deeplab.structures import MaskPrediction
from cmt_deeplab.visualization import AssignmentMap, assignment_maps, center_colors
from torch import nn
from torch.nn.modules.module import _global_forward_hooks


class Decoder(nn.Module):
    """Two layers at strides 32 and 16 and masks at stride 8, of two images of 97x97 pixels.

    In the first image row r belongs to center r % 3, in the second one every row to center 3.
    """

    def forward(self, images):
        return DecoderOutput(
            [
                MaskPrediction(
                    self.logits(13)[:, 0], torch.zeros(2, 4, 3), torch.zeros(2, 8, 13, 13)
                )
            ],
            [self.logits(4, heads=2), self.logits(7)],
            [],
        )

    @staticmethod
    def logits(side, heads=1):
        owner = (torch.arange(side) % 3).view(1, side, 1).expand(2, side, side).clone()
        owner[1] = 3
        return 4 * nn.functional.one_hot(owner, 4).permute(0, 3, 1, 2)[:, None].float().repeat(
            1, heads, 1, 1, 1
        )


class Model(nn.Module):
    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def data_preprocessor(self, batch, training):
        return batch

    def forward(self, inputs, data_samples, mode):
        assert mode == 'predict' and not self.training
        return self.decoder(inputs)


def batch():
    return dict(
        inputs=torch.zeros(2, 3, 97, 97),
        data_samples=[SimpleNamespace(metainfo=dict(img_shape=(96, 90)))] * 2,
    )


def test_each_layer_gives_the_largest_center_of_each_pixel():
    model = Model(Decoder()).train()
    first, second = assignment_maps(model, batch())
    assert model.training and not _global_forward_hooks
    assert [m.name for m in first] == [
        'layer 1, stride 32',
        'layer 2, stride 16',
        'final mask, stride 8',
    ]
    for stride, layer in zip((32, 16, 8), first):
        assert layer.centers.shape == layer.confidence.shape == (96, 90)
        nearest = (
            np.rint(np.arange(96) / stride).astype(int) % 3
        )  # corners aligned: the cell centers lie at multiples of the stride
        assert (layer.centers == nearest[:, None]).all()
        assert layer.confidence == pytest.approx(np.exp(4) / (np.exp(4) + 3))
    assert all((layer.centers == 3).all() for layer in second)


def test_a_model_without_centers_is_refused():
    with pytest.raises(ValueError, match='no decoder'):
        assignment_maps(Model(nn.Identity()), batch())


def test_a_center_has_the_color_of_the_segment_it_ends_in():
    centers = np.repeat([[0, 1, 2, 2]], 4, 0)
    segment_map = np.repeat(
        [[7, 7, 1000, 3]], 4, 0
    )  # centers 0 and 1 in one segment, 2 half in another one, half in void
    final = AssignmentMap('', centers, np.ones((4, 4), np.float32))
    table = center_colors(final, segment_map, {7: (10, 200, 10), 1000: (9, 9, 9)}, num_centers=5)
    assert table.shape == (5, 3) and tuple(table[0]) == (10, 200, 10)
    assert table[1].argmax() == 1 and tuple(table[1]) != tuple(table[0])  # a shade of it
    assert all(table[i].min() > 125 for i in (2, 3, 4))  # pale
