"""The kept output of the network for one image: its segments for any thresholds, and its layers."""

from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
from mmengine.dataset import pseudo_collate
from torch import nn

from cmt_deeplab.models.heads.panoptic_head import HeadOutput
from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput
from cmt_deeplab.postprocess.merge_base import PanopticMerge
from cmt_deeplab.structures import MaskPrediction
from cmt_deeplab.visualization import assignment_maps, center_colors, draw_assignment
from cmt_deeplab.visualization.palette import Color

from .inferencer import PanopticInferencer
from .result import PanopticResult

SETTINGS = (
    'thing_threshold',
    'stuff_threshold',
    'class_threshold',
    'pixel_threshold',
    'overlap_threshold',
)


def merge_settings(model: nn.Module) -> dict[str, float]:
    """The thresholds of a model's merge by name; none for mmdet's models and exported ones."""
    merge = getattr(model, 'postprocess', None)
    known = isinstance(merge, PanopticMerge) and hasattr(model, 'network')
    return {name: getattr(merge, name) for name in SETTINGS if known and hasattr(merge, name)}


class HeldImage:
    """The prediction of one image, whose merge can be repeated without running the network.

    Each call changes the model for as long as it runs, so no other thread may use the model then.

    Args:
        inferencer: the model to predict with.
        path: the image file.

    Raises:
        UserError: the image cannot be used.
    """

    def __init__(self, inferencer: PanopticInferencer, path: str) -> None:
        self.inferencer = inferencer
        network, model = inferencer.network, inferencer.network.model
        loaded = network.load(path)
        self.image = loaded['img']
        self._outputs: list[HeadOutput] = []  # of the network, in the order of its calls
        self._maps = []
        if not merge_settings(model):
            self._result = self._merged(None)
            return
        run = model.network

        def noting(*inputs: Any) -> HeadOutput:
            output = run(*inputs)
            final = output.decoder.predictions[-1]
            kept = MaskPrediction(
                mask_logits=final.mask_logits,
                class_logits=final.class_logits,
                pixel_features=final.mask_logits.new_empty(0),
            )
            self._outputs.append(HeadOutput(DecoderOutput([kept], [], []), None))
            return output

        with patch.object(model, 'network', noting):
            if model.test_windows is None:
                (self._maps,) = assignment_maps(model, pseudo_collate([network.pack(loaded)]))
            else:  # each window has layers of its own
                self._merged(None)

    def result(
        self, thresholds: Mapping[str, float] | None = None, **settings: float
    ) -> PanopticResult:
        """The segments for some thresholds, by default those of the model.

        Args:
            thresholds: the smallest class probability by class name.
            settings: other thresholds of the merge, by the names of :func:`merge_settings`.
        """
        if not self._outputs:
            return self._result
        model, outputs = self.inferencer.network.model, iter(self._outputs)
        with (
            patch.object(model, 'network', lambda *_: next(outputs)),
            patch.multiple(model.postprocess, **merge_settings(model) | settings),
        ):
            return self._merged(thresholds or None)

    def layers(self, result: PanopticResult, colors: Mapping[int, Color]) -> dict[str, np.ndarray]:
        """Pictures (H, W, 3) uint8 of the centers that pixels are assigned to, by layer.

        A center has the color of the segment of ``result`` that it becomes; ``colors`` has these by
        the values of ``result.segment_map``. There are no layers for models without
        :func:`merge_settings` and for predictions in windows.
        """
        if not self._maps:
            return {}
        number = 1 + max(int(layer.centers.max()) for layer in self._maps)
        table = center_colors(self._maps[-1], result.segment_map, colors, num_centers=number)
        return {layer.name: draw_assignment(layer, table) for layer in self._maps}

    def _merged(self, thresholds: Mapping[str, float] | None) -> PanopticResult:
        (result,) = self.inferencer(self.image, thresholds=thresholds, channel_order='bgr')
        return result
