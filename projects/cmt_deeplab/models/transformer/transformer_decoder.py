"""The pixel decoder and the transformer layers, interleaved."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.module_config import require_sizes
from cmt_deeplab.models.blocks.recompute import recompute_always, recomputed
from cmt_deeplab.models.heads.predictor import PredictorCall, predict_all
from cmt_deeplab.parts import build_part, part_class
from cmt_deeplab.slots import DECODER as SLOT
from cmt_deeplab.slots import HEAD
from cmt_deeplab.structures import MaskPrediction

PREDICTOR_SLOT = f'{HEAD}.predictor'


class DecoderOutput(NamedTuple):
    """What :class:`CMTTransformerDecoder` returns.

    Attributes:
        predictions: of the supervised layers, coarse to fine, and then the final one.
        assignments: the logits (B, h, N, H, W) of each layer; their softmax over N assigns the
            pixels to the centers.
        stage_features: the pixel features (B, Dp, H, W) of each stage after its layers, while
            training or with ``features_only``; otherwise empty.
    """

    predictions: list[MaskPrediction]
    assignments: list[Tensor]
    stage_features: list[Tensor]


@MODELS.register_module()
class CMTTransformerDecoder(nn.Module):
    """Learned cluster centers pass the stages of the pixel decoder, coarse to fine.

    Stage i of the pixel decoder makes features of the stage before and of the backbone's; the
    layers of stage i then update the centers and these features, which go on to stage i+1.

    Args:
        pixel_channels: width of each stage of the pixel decoder.
        layer: config of a layer (CMTLayer, MaXLayer, KMaXLayer), or one for each entry of
            ``layers_per_stage``.
        predictor: config of the final prediction and, with ``deep_supervision``, of that of each
            layer.
        layers_per_stage: number of layers of each stage; further stages have none.
    """

    def __init__(
        self,
        *,
        pixel_channels: Sequence[int],
        num_classes: int,
        norm_cfg: dict | None,
        act_cfg: dict | None,
        align_corners: bool,
        layer: dict | Sequence[dict],
        predictor: dict,
        num_centers: int = 128,
        center_channels: int = 256,
        layers_per_stage: Sequence[int] = (2, 2, 2),
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        layers = self._layer_configs(layer, layers_per_stage, pixel_channels)
        require_sizes(SLOT, num_centers=num_centers, center_channels=center_channels)
        self.deep_supervision, self.with_cp = deep_supervision, False
        self.centers = nn.Parameter(torch.empty(1, center_channels, num_centers))
        nn.init.trunc_normal_(self.centers, std=1.0)
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        build_predictor = partial(
            build_part, PREDICTOR_SLOT, predictor, num_classes=num_classes, **common
        )
        common.update(center_channels=center_channels, align_corners=align_corners)

        def build_layer(key: str, config: dict, channels: int) -> nn.Module:
            consumes = getattr(part_class(key, config), 'consumes_prediction', False)
            if 'predictor' in config:
                raise UserError(
                    f'{key}.predictor is set once, in {PREDICTOR_SLOT}: remove the key.'
                )
            if consumes and not deep_supervision:
                raise UserError(
                    f'{SLOT}.deep_supervision is False, but {key} works with its own prediction, '
                    'which nothing else trains: set it to True, or take a layer such as CMTLayer.'
                )
            predicts = build_predictor if deep_supervision else None
            return build_part(key, config, pixel_channels=channels, predictor=predicts, **common)

        self.stages = nn.ModuleList(
            nn.ModuleList(build_layer(key, config, channels) for _ in range(count))
            for (key, config), channels, count in zip(layers, pixel_channels, layers_per_stage)
        )
        self.predictor = build_predictor(
            pixel_channels=pixel_channels[-1], center_channels=center_channels, project_centers=True
        )

    @staticmethod
    def _layer_configs(
        layer: dict | Sequence[dict], counts: Sequence[int], pixel_channels: Sequence[int]
    ) -> list[tuple[str, dict]]:
        """The config of the layers of each stage that has some, and its key."""
        key = f'{SLOT}.layers_per_stage'
        whole = isinstance(counts, list | tuple) and all(isinstance(one, int) for one in counts)
        if not whole or not counts or min(counts) < 0 or sum(counts) == 0:
            raise UserError(
                f'{key} is {counts!r}, but it is a list with the number of layers of each stage, '
                'coarse to fine, such as (2, 2, 2), and one layer is the least.'
            )
        if len(counts) > len(pixel_channels):
            raise UserError(
                f'{key} names {len(counts)} stages, but the pixel decoder has '
                f'{len(pixel_channels)}: give it {len(pixel_channels)} numbers at most.'
            )
        if not isinstance(layer, list | tuple):
            return [(f'{SLOT}.layer', layer)] * len(counts)
        if len(layer) != len(counts):
            raise UserError(
                f'{SLOT}.layer has {len(layer)} configs for the {len(counts)} stages of '
                'layers_per_stage: give one for each, or one for all.'
            )
        return [(f'{SLOT}.layer.{i}', one) for i, one in enumerate(layer)]

    def recompute(self) -> None:
        """From now on, recompute the activations of layers and predictors in the backward pass."""
        self.with_cp = True
        for layer in chain(*self.stages):
            recompute_always(layer)

    def forward(
        self, features: Sequence[Tensor], pixel_decoder: nn.Module, *, features_only: bool = False
    ) -> DecoderOutput:
        """The whole decoder.

        Args:
            features: of the backbone, fine to coarse.
            pixel_decoder: its ``skips(features)`` are one entry per stage, and its
                ``stage(i, previous, skip)`` gives the features of stage i.
            features_only: at inference, give the features of the stages in place of the final
                prediction.
        """
        predictions, assignments, stage_features = [], [], []
        pixels = logits = None
        centers = self.centers.expand(len(features[0]), -1, -1)
        supervised = self.training and self.deep_supervision
        for i, skip in enumerate(pixel_decoder.skips(features)):
            pixels = pixel_decoder.stage(i, pixels, skip)
            for layer in self.stages[i] if i < len(self.stages) else ():
                pixels, centers, logits, prediction = layer(
                    pixels, centers, logits, predict=supervised
                )
                assignments.append(logits)
                if supervised:
                    predictions.append(prediction)
            if self.training or features_only:
                stage_features.append(pixels)
        if self.training or not features_only:
            predictions.append(PredictorCall(self.predictor, pixels, centers))
        if self.with_cp:
            modules = [one.predictor for one in predictions if isinstance(one, PredictorCall)]
            forward = lambda _, calls: predict_all(calls)
            predictions = recomputed(nn.ModuleList(modules), predictions, forward=forward)
        else:
            predictions = predict_all(predictions)
        return DecoderOutput(predictions, assignments, stage_features)
