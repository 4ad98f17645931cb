"""Pixel path and center path, interleaved (model.md section 2)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MaskPrediction


class DecoderOutput(NamedTuple):
    predictions: list[MaskPrediction]  # one a supervised layer, coarse to fine, then the final one
    assignments: list[
        Tensor
    ]  # one a layer: logits (B, h or 1, N, H, W), whose softmax over N assigns pixels to centers
    stage_features: list[
        Tensor
    ]  # while training or with features_only, one a pixel stage: (B, Dp, H, W) after its layers; else empty


@MODELS.register_module()
class CMTTransformerDecoder(nn.Module):
    """Learned cluster centers walk up the pixel decoder: stage i makes features, its layers update centers and features, and so on.

    ``layers_per_stage`` counts layers at each pixel stage, coarse to fine; stages beyond its length have none. ``layer`` is a layer's
    config (CMTLayer, MaXLayer, KMaXLayer), or one config for each entry of ``layers_per_stage``; ``predictor`` is that of the final
    prediction and, with ``deep_supervision``, of each layer's.
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
        if len(layers_per_stage) > len(pixel_channels):
            raise UserError(
                f'CMTTransformerDecoder: layers_per_stage names {len(layers_per_stage)} stages, the pixel decoder has '
                f'{len(pixel_channels)}'
            )
        self.deep_supervision = deep_supervision
        self.centers = nn.Parameter(torch.empty(1, center_channels, num_centers))
        nn.init.trunc_normal_(self.centers, std=1.0)
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg, num_classes=num_classes)
        configs = [layer] * len(layers_per_stage) if isinstance(layer, dict) else layer
        if len(configs) != len(layers_per_stage):
            raise UserError(
                f'CMTTransformerDecoder: layer has {len(configs)} configs for the {len(layers_per_stage)} stages of '
                'layers_per_stage: give one each, or one for all'
            )

        def build_layer(config: dict, channels: int) -> nn.Module:
            own_predictor = (
                predictor
                if deep_supervision or MODELS.get(config['type']).consumes_prediction
                else None
            )
            return MODELS.build(
                dict(
                    config,
                    pixel_channels=channels,
                    center_channels=center_channels,
                    predictor=own_predictor,
                    align_corners=align_corners,
                    **common,
                )
            )

        self.stages = nn.ModuleList(
            nn.ModuleList(build_layer(config, channels) for _ in range(count))
            for config, channels, count in zip(configs, pixel_channels, layers_per_stage)
        )
        self.predictor = MODELS.build(
            dict(
                predictor,
                pixel_channels=pixel_channels[-1],
                center_channels=center_channels,
                project_centers=True,
                **common,
            )
        )

    def forward(
        self,
        features: Sequence[Tensor],
        pixel_decoder: nn.Module,
        valid: Tensor | None = None,
        *,
        features_only: bool = False,
    ) -> DecoderOutput:
        """Backbone ``features`` fine to coarse; ``valid`` (B, 1, H, W) of the input, for layers that mask padding. ``features_only``
        gives, at inference, the stages' features in place of the final prediction."""
        predictions, assignments, stage_features = [], [], []
        pixels = logits = None
        centers = self.centers.expand(features[0].shape[0], -1, -1)
        for i, skip in enumerate(pixel_decoder.skips(features)):
            pixels = pixel_decoder.stage(i, pixels, skip)
            for layer in self.stages[i] if i < len(self.stages) else ():
                stage_valid = (
                    None if valid is None else nn.functional.interpolate(valid, pixels.shape[-2:])
                )
                pixels, centers, logits, prediction = layer(
                    pixels,
                    centers,
                    logits,
                    valid=stage_valid,
                    predict=self.training and self.deep_supervision,
                )
                assignments.append(logits)
                if prediction is not None:
                    predictions.append(prediction)
            if self.training or features_only:
                stage_features.append(pixels)
        if self.training or not features_only:
            predictions.append(self.predictor(pixels, centers))
        return DecoderOutput(predictions, assignments, stage_features)
