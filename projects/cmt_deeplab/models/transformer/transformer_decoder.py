"""The pixel decoder and the transformer layers, interleaved."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MaskPrediction


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
        act_cfg: dict,
        align_corners: bool,
        layer: dict | Sequence[dict],
        predictor: dict,
        num_centers: int = 128,
        center_channels: int = 256,
        layers_per_stage: Sequence[int] = (2, 2, 2),
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        num_stages = len(layers_per_stage)
        if num_stages > len(pixel_channels):
            raise UserError(
                f'CMTTransformerDecoder: layers_per_stage names {num_stages} stages, but the '
                f'pixel decoder has {len(pixel_channels)}.'
            )
        layers = [layer] * num_stages if isinstance(layer, dict) else layer
        if len(layers) != num_stages:
            raise UserError(
                f'CMTTransformerDecoder: layer has {len(layers)} configs for the {num_stages} '
                'stages of layers_per_stage: give one for each, or one for all.'
            )
        self.deep_supervision = deep_supervision
        self.centers = nn.Parameter(torch.empty(1, center_channels, num_centers))
        nn.init.trunc_normal_(self.centers, std=1.0)
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg, center_channels=center_channels)
        predictor = dict(predictor, num_classes=num_classes, **common)

        def build_layer(config: dict, channels: int) -> nn.Module:
            predicts = deep_supervision or MODELS.get(config['type']).consumes_prediction
            return MODELS.build(
                dict(
                    config,
                    pixel_channels=channels,
                    predictor=predictor if predicts else None,
                    align_corners=align_corners,
                    **common,
                )
            )

        self.stages = nn.ModuleList(
            nn.ModuleList(build_layer(config, channels) for _ in range(count))
            for config, channels, count in zip(layers, pixel_channels, layers_per_stage)
        )
        self.predictor = MODELS.build(
            dict(predictor, pixel_channels=pixel_channels[-1], project_centers=True)
        )

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
            predictions.append(self.predictor(pixels, centers))
        return DecoderOutput(predictions, assignments, stage_features)
