"""Writing a network as an ONNX file or a program of ``torch.export``, and checking its segments.

The graph has standard operators and takes one image at a time: ``images`` (1, 3, H, W) float32,
padded at the right and the bottom and normalized as by ``PanopticDataPreprocessor``. It gives
``mask_logits`` (1, N, h, w) and ``class_logits`` (1, N, C+1).

If the graph contains the merge, ``images`` holds colors from 0 to 255, and there are two more
inputs, (height, width) int64: ``image_size``, the size of the image without its padding, and
``output_size``, that of the map to make. The graph then gives ``id_map`` (H_o, W_o) int32, the
number of the segment of each pixel, 0 for void; and ``labels``, ``scores`` and ``areas`` (N,) of
segments 1, 2, ..., best score first, which are 0 behind the last segment.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size
from cmt_deeplab.postprocess.traced import traced_merge
from cmt_deeplab.whole_file import whole_file

from .exported import (
    DATA,
    LOGITS,
    RECIPE,
    SEGMENTS,
    exported_network,
    onnxruntime_network,
    require,
    texts_of,
)
from .network import Network

ROUNDING = 1e-4  # the share of pixels that rounding may move to another segment
PROGRAM = '.pt2'  # the ending of what torch.export.save writes


class _Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.model(images, mode='tensor')


class _Segments(_Logits):
    def forward(
        self, images: Tensor, image_size: Tensor, output_size: Tensor
    ) -> tuple[Tensor, ...]:
        mean, std = self.model.data_preprocessor.mean, self.model.data_preprocessor.std
        size = images.shape[-2:]
        rows, columns = (
            torch.arange(side, device=images.device) < inside
            for side, inside in zip(size, image_size)
        )
        images = torch.where(rows[:, None] & columns, (images - mean) / std, 0.0)
        masks, classes = super().forward(images)
        return traced_merge(
            self.model.postprocess,
            masks[0],
            classes[0],
            input_size=size,
            image_size=image_size,
            output_size=output_size,
            align_corners=self.model.align_corners,
        )


def export(network: Network, path: str, size: Size, *, dynamic: bool, merged: bool) -> None:
    """Write the network for inputs of ``size`` (H, W), or with ``dynamic`` for all its input sizes.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed.
        UserError: it cannot be written, or a merge in the graph is to separate the parts of things.
    """
    if merged and getattr(network.model.postprocess, 'separate_parts', False):
        raise UserError(
            'The merge with separate_parts=True counts connected parts, which a graph cannot: '
            'export without --merge, as the inferencer then merges, or set '
            'model.postprocess.separate_parts=False.'
        )
    texts = texts_of(network, size, merged=merged)
    if not path.endswith(PROGRAM):
        require('onnx', 'onnxscript')
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch, about its own code
        try:
            program = _traced(network.model, size, dynamic, merged)
            if path.endswith(PROGRAM):
                with whole_file(Path(path)) as part:
                    torch.export.save(program, part, extra_files=texts)
                return
            written = torch.onnx.export(
                program, output_names=[*(SEGMENTS if merged else LOGITS)], verbose=False
            )
        except Exception as error:  # of many kinds
            reason = next(filter(None, map(str.strip, f'{error}'.splitlines())), '')[:200]
            raise UserError(
                f'{type(network.model).__name__} cannot be exported ({reason}): '
                + ('leave out --dynamic.' if dynamic else 'torch.export cannot trace its parts.')
            ) from error
    written.model.metadata_props.update(texts)
    with whole_file(Path(path)) as part:
        written.save(part)


def _traced(model: nn.Module, size: Size, dynamic: bool, merged: bool) -> ExportedProgram:
    extra = int(model.align_corners)
    sides = {axis: 32 * Dim(f'cells_{axis}', min=2) + extra for axis in (2, 3)}
    device = next(model.parameters()).device
    inputs = dict(images=torch.zeros(1, 3, *size, device=device))
    if merged:
        inputs |= {
            name: torch.tensor(size, device=device) for name in ('image_size', 'output_size')
        }
    shapes = dict.fromkeys(inputs) | dict(images=sides if dynamic else None)
    graph = (_Segments if merged else _Logits)(model).eval()
    program = torch.export.export(graph, (), inputs, dynamic_shapes=shapes)
    if dynamic:  # a part that kept this size as a constant fails only when the graph runs
        larger = inputs['images'].new_zeros(1, 3, size[0] + 32, size[1] + 64)
        program.module()(**inputs | dict(images=larger))
    return program


def runtimes(path: str) -> Iterator[tuple[str, Network]]:
    """The installed runtimes for a file that :func:`export` has just written: name and network.

    A program of ``torch.export`` may hold code, so only a file that was written here is loaded.
    """
    if path.endswith(PROGRAM):
        texts = dict.fromkeys((RECIPE, DATA), '')
        graph = torch.export.load(path, extra_files=texts).module()

        def run(_: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            with torch.no_grad():
                found = graph(**{name: torch.from_numpy(each) for name, each in feeds.items()})
            return [each.numpy() for each in found]

        yield 'torch.export', exported_network(run, texts, path)
        return
    require('onnxruntime')
    import onnxruntime

    network = onnxruntime_network(path, ['CPUExecutionProvider'])
    yield 'onnxruntime', network
    tensorrt = 'TensorrtExecutionProvider'
    if tensorrt in onnxruntime.get_available_providers():
        yield 'TensorRT', onnxruntime_network(path, [tensorrt, 'CUDAExecutionProvider'])
    if find_spec('openvino') is not None:
        import openvino

        precision = dict(INFERENCE_PRECISION_HINT='f32')  # by itself it may choose a lower one
        compiled = openvino.Core().compile_model(path, 'CPU', precision)
        network.model.run = lambda names, feeds: [compiled(feeds)[name] for name in names]
        yield 'OpenVINO', network


@dataclass(frozen=True)
class Comparison:
    """How well the segments of PyTorch and of an exported network agree on one image."""

    name: str
    segments: int
    same_list: bool  # whether both have the same segments in the same order
    pixels: int
    other_pixels: int  # those that belong to another segment

    @property
    def same(self) -> bool:
        """Whether the segments are the same, except for a few pixels that rounding decides."""
        return self.same_list and self.other_pixels <= ROUNDING * self.pixels


def compare(network: Network, exported: Network, images: Iterable) -> Iterator[Comparison]:
    """Compare the segments of PyTorch with those of an exported network, image by image."""
    for image in images:
        (plain, infos), (other, other_infos) = (
            each.predict([each.load(image)])[0] for each in (network, exported)
        )
        same = [each['id'] for each in infos] == [each['id'] for each in other_infos]
        name = image if isinstance(image, str) else 'noise'
        yield Comparison(name, len(infos), same, plain.size, int((plain != other).sum()))
