"""The network as an ONNX file: writing it, running it, and comparing its segments.

The file holds what ``CMTDeepLab.network`` computes, with plain operators of ONNX: ``images``
(1, 3, H, W), normalized and padded, become ``mask_logits`` (1, N, h, w) and ``class_logits``
(1, N, C+1). The pipeline before it and the merge behind it stay in Python.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from cmt_deeplab.errors import MissingPackageError
from cmt_deeplab.geometry import Size
from cmt_deeplab.models.heads.panoptic_head import HeadOutput
from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput
from cmt_deeplab.structures import MaskPrediction
from cmt_deeplab.whole_file import whole_file

from .network import Network

OUTPUTS = ('mask_logits', 'class_logits')
ROUNDING = 1e-4  # the share of pixels on borders that rounding may move


class _Logits(nn.Module):
    """A model that only gives its final mask and class logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(images, mode='tensor')


def export_onnx(model: nn.Module, path: str | Path, size: Size) -> None:
    """Write the network of ``model`` for single images of ``size``, through ``torch.export``.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed.
    """
    _require('onnx', 'onnxscript')
    device = next(model.parameters()).device
    with torch.no_grad():
        program = torch.onnx.export(
            _Logits(model).eval(),
            (torch.zeros(1, 3, *size, device=device),),
            input_names=['images'],
            output_names=[*OUTPUTS],
            dynamo=True,
            verbose=False,
        )
    with whole_file(Path(path)) as part:
        program.save(part)


class ExportedNetwork:
    """An ONNX file in onnxruntime, in place of ``CMTDeepLab.network``.

    Raises:
        MissingPackageError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        _require('onnxruntime')
        from onnxruntime import InferenceSession

        self.session = InferenceSession(str(path), providers=['CPUExecutionProvider'])

    def __call__(self, batch_inputs: Tensor) -> HeadOutput:
        """The final prediction of images (B, 3, H, W), one after another."""
        found = [
            self.session.run(OUTPUTS, dict(images=image[None].cpu().numpy()))
            for image in batch_inputs
        ]
        masks, classes = (torch.from_numpy(np.concatenate(each)) for each in zip(*found))
        final = MaskPrediction(
            mask_logits=masks.to(batch_inputs.device),
            class_logits=classes.to(batch_inputs.device),
            pixel_features=batch_inputs.new_empty(0),
        )
        return HeadOutput(DecoderOutput([final], [], []), None)


@dataclass(frozen=True)
class Comparison:
    """How far the segments of one image agree."""

    name: str
    segments: int
    same_list: bool  # of segments, with the same classes and instances
    pixels: int
    other_pixels: int  # that belong to another segment

    @property
    def same(self) -> bool:
        """Whether the segments are the same, but for single pixels that rounding decides."""
        return self.same_list and self.other_pixels <= ROUNDING * self.pixels


def compare(network: Network, exported: ExportedNetwork, paths: Iterable[str]) -> list[Comparison]:
    """The segments of PyTorch and those of an exported network, image by image."""
    results = []
    for path in paths:
        loaded = network.load(path)
        ((plain, infos),) = network.predict([loaded])
        with patch.object(network.model, 'network', exported):
            ((other, other_infos),) = network.predict([loaded])
        same = [each['id'] for each in infos] == [each['id'] for each in other_infos]
        results.append(Comparison(path, len(infos), same, plain.size, int((plain != other).sum())))
    return results


def _require(*packages: str) -> None:
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise MissingPackageError(
                f'The export needs the optional package {package}: pip install '
                '"cmt-deeplab[export]".'
            ) from error
