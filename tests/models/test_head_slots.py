"""Parts of the panoptic head: those of a user fit, and what does not fit is refused."""

import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.transformer import CMTLayer, KMaXLayer, LayerOutput, MaXLayer
from cmt_deeplab.models.transformer.layer_parts import TransformerLayer
from cmt_deeplab.structures import MaskPrediction
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from small_model import SMALL, small_config
from torch import Tensor, nn

DECODER = 'panoptic_head__transformer_decoder'
LAYER, PREDICTOR = f'{DECODER}__layer', 'panoptic_head__predictor'
PIXELS, SEMANTIC = 'panoptic_head__pixel_decoder', 'panoptic_head__semantic_head'
WIDTHS = {k: v for k, v in SMALL['panoptic_head']['transformer_decoder']['layer'].items()}
WIDTHS.pop('type')


def build(changes: dict) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(ConfigDict(small_config(**changes)))


def masks(pixels: Tensor, centers: Tensor) -> Tensor:
    return torch.einsum('bchw,bcn->bnhw', pixels, centers)


class InheritingLayer(TransformerLayer):
    def __init__(self, **shared):
        super().__init__(**shared)
        self.own_pixels = self.build_input(self.pixel_channels)
        self.own_centers = self.build_input(self.center_channels)
        self.mix = nn.Conv1d(self.center_channels, self.center_channels, 1)
        self.predictor = self.build_predictor()

    def forward(self, pixels, centers, logits, *, predict=False):
        own_pixels, own_centers = self.own_pixels(pixels), self.own_centers(centers)
        prediction = self.predictor(own_pixels, own_centers) if predict else None
        logits = masks(own_pixels, own_centers).unsqueeze(1)
        return LayerOutput(pixels, self.mix(centers), logits, prediction)


class PlainLayer(nn.Module):
    def __init__(self, pixel_channels, center_channels, predictor, fault=None):
        super().__init__()
        self.fault = fault
        self.own_pixels = nn.Conv2d(pixel_channels, center_channels, 1)
        self.mix = nn.Conv1d(center_channels, center_channels, 1)
        widths = dict(pixel_channels=center_channels, center_channels=center_channels)
        self.predictor = predictor and predictor(project_centers=False, **widths)

    def forward(self, pixels, centers, logits, *, predict=False):
        own, centers = self.own_pixels(pixels), self.mix(centers)
        logits = masks(own, centers).unsqueeze(1)
        prediction = self.predictor(own, centers) if predict else None
        output = LayerOutput(pixels, centers, logits, prediction)
        if self.fault == 'two':
            return pixels, centers
        return (
            output._replace(**{self.fault: None if self.fault == 'prediction' else logits[0]})
            if self.fault
            else output
        )


class PlainPredictor(nn.Module):
    def __init__(
        self, pixel_channels, center_channels, num_classes, project_centers, classes=1, give=True
    ):
        super().__init__()
        self.give = give
        self.pixels = nn.Conv2d(pixel_channels, 8, 1)
        self.kernels = nn.Conv1d(center_channels, 8, 1)
        self.classes = nn.Conv1d(center_channels, num_classes + classes, 1)

    def forward(self, pixels, centers, reference_points=None):
        features = nn.functional.normalize(self.pixels(pixels), dim=1)
        logits = masks(features, self.kernels(centers))
        classes = self.classes(centers).transpose(1, 2)
        return MaskPrediction(logits, classes, features if self.give else None, reference_points)


class PlainSemanticHead(nn.Module):
    def __init__(self, in_channels, num_classes, classes=1):
        super().__init__()
        self.classify = nn.Conv2d(in_channels[0], num_classes + classes, 1)

    def forward(self, features):
        return self.classify(features[0])


class PlainPixelDecoder(nn.Module):
    def __init__(self, in_channels, growth=0):
        super().__init__()
        self.first = nn.ModuleList(nn.Conv2d(width, 8, 1) for width in reversed(in_channels))
        self.out_channels = [8 + growth] * len(in_channels)

    def skips(self, features):
        return list(reversed(features))

    def stage(self, i, previous, skip):
        x = self.first[i](skip)
        return x if previous is None else x + nn.functional.interpolate(previous, x.shape[2:])


FITTING = dict(
    layer_by_class={LAYER: dict(type=CMTLayer, **WIDTHS)},
    layers_by_class_unsupervised={
        LAYER: dict(type=MaXLayer, **WIDTHS),
        f'{DECODER}__deep_supervision': False,
    },
    mixed_layers={LAYER: [dict(type=kind, **WIDTHS) for kind in (CMTLayer, MaXLayer, KMaXLayer)]},
    inheriting_layer={LAYER: dict(type=InheritingLayer, **WIDTHS)},
    plain_layer={LAYER: dict(type=PlainLayer)},
    predictor={PREDICTOR: dict(type=PlainPredictor)},
    semantic_head={SEMANTIC: dict(type=PlainSemanticHead)},
    pixel_decoder={PIXELS: dict(type=PlainPixelDecoder)},
    one_center={f'{DECODER}__num_centers': 1},
    own_style={
        f'{PREDICTOR}__norm_cfg': dict(type=nn.GroupNorm, num_groups=8),
        f'{PREDICTOR}__act_cfg': dict(type=nn.Mish),
    },
)


@pytest.mark.parametrize('name', FITTING)
def test_a_part_that_fits_trains(name):
    model = build(FITTING[name]).train()
    output = model.network(torch.randn(2, 3, 65, 65))
    losses = [output.semantic_logits.square().mean()]
    for one in output.decoder.predictions:
        losses += [one.mask_logits.square().mean(), one.class_logits.square().mean()]
        if one.reference_points is not None:
            losses.append(one.reference_points.square().mean())
    sum(losses).backward()
    head = dict(model.panoptic_head.named_parameters())
    assert not [name for name, parameter in head.items() if parameter.grad is None]
    assert all(parameter.grad.isfinite().all() for parameter in head.values())


LAYER_KEY, HEAD_KEY = r'model\.panoptic_head\.transformer_decoder\.layer', r'model\.panoptic_head'
MISFITS = [
    ({LAYER: dict(type='ResNet', depth=18)}, f'^{LAYER_KEY} .*ResNet, which does not fit'),
    ({LAYER: dict(type='BaseTransformerLayer')}, f'^{LAYER_KEY} .*which does not fit'),
    ({LAYER: dict(type=PlainLayer, fault='two')}, 'PlainLayer.*must return a LayerOutput'),
    ({LAYER: dict(type=PlainLayer, fault='logits')}, 'PlainLayer.*must return logits of'),
    ({LAYER: dict(type=PlainLayer, fault='centers')}, 'PlainLayer.*must return pixels'),
    ({LAYER: dict(type=PlainLayer, fault='prediction')}, 'PlainLayer.*must return a MaskPred'),
    ({LAYER: None}, f'^{LAYER_KEY} is None'),
    ({LAYER: [dict(type=CMTLayer)]}, f'^{LAYER_KEY} has 1 configs for the 3 stages'),
    ({f'{LAYER}__heads': 3}, 'must be multiples of heads 3'),
    ({f'{LAYER}__heads': 0}, 'heads is 0'),
    ({f'{LAYER}__predictor': dict(type='CMTPredictor')}, 'set once, in model.panoptic_head.pred'),
    ({LAYER: dict(type=KMaXLayer, **WIDTHS), f'{DECODER}__deep_supervision': False},
     'deep_supervision is False, but .*layer works with its own prediction'),
    ({f'{DECODER}__layers_per_stage': (1,) * 5}, 'names 5 stages, but the pixel decoder has 4'),
    ({f'{DECODER}__layers_per_stage': 2}, 'layers_per_stage is 2'),
    ({f'{DECODER}__layers_per_stage': (0, 0)}, 'one layer is the least'),
    ({f'{DECODER}__num_centers': 0}, 'num_centers is 0'),
    ({PREDICTOR: dict(type='FCNMaskHead')}, 'predictor .*FCNMaskHead, which does not fit'),
    ({PREDICTOR: dict(type=PlainPredictor, classes=0)}, r'class_logits \(B, N, 6\)'),
    ({PREDICTOR: dict(type=PlainPredictor, give=False)}, r'pixel_features \(B, F, H, W\)'),
    ({f'{PREDICTOR}__feature_channels': 0}, 'feature_channels is 0'),
    ({SEMANTIC: dict(type='PanopticFPNHead', num_things_classes=3, num_stuff_classes=2)},
     'semantic_head .*PanopticFPNHead, which does not fit'),
    ({SEMANTIC: dict(type=PlainSemanticHead, classes=0)}, r'must return logits \(B, 6, H, W\)'),
    ({f'{SEMANTIC}__fuse': (2, 4)}, r'fuse is \(2, 4\), but with 4 features it names .* 1 to 3'),
    ({f'{SEMANTIC}__fuse': (2,)}, 'need one entry per feature'),
    ({f'{SEMANTIC}__rates': (0, 1)}, 'rates is 0'),
    ({'panoptic_head__semantic_stage': 4}, 'semantic_stage is 4, but the stages .* are 0 to 3'),
    ({'backbone__out_indices': (1, 2, 3),
      PIXELS: dict(type='AxialPixelDecoder', kinds=('axial',) * 3, filters=(8,) * 3,
                   num_blocks=(1,) * 3, dilations=(1,) * 3)}, r'fuse is \(2, 3\), but with 3'),
    ({PIXELS: dict(type=PlainPixelDecoder, growth=1)}, r'but its out_channels are'),
    ({f'{PIXELS}__filters': (8, 8)}, 'their lengths are 4, 2, 4 and 4'),
    ({f'{PIXELS}__filters': (6, 8, 8, 8)}, 'make the filters of axial blocks multiples of 8'),
    ({f'{PIXELS}__num_blocks': (0, 1, 1, 1)}, 'num_blocks is 0'),
    ({f'{PIXELS}__dilations': (2, 1, 1, 1)}, 'must be 1 in axial stages'),
]  # fmt: skip


@pytest.mark.parametrize('changes, sentence', MISFITS)
def test_what_does_not_fit_is_refused_when_the_model_is_built(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        build(changes)
