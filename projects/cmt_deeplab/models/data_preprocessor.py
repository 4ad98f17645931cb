"""Batching: images and index planes padded to the network's input size, values in [-1, 1]."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size, as_size, fitted_size, image_tensor, padded_side, resize_image
from cmt_deeplab.image_file import range_problem
from cmt_deeplab.models.mmdet_truth import add_index_map, pad_masks
from cmt_deeplab.structures import PADDING_INDEX

from .stacking import has_plane, largest_size, stack_images, stack_truth, with_truth

OVERSHOOT = 64  # beyond 0..255, by interpolation with cubic or longer kernels


@MODELS.register_module()
class PanopticDataPreprocessor(ImgDataPreprocessor):
    """Normalizes images, pads them with 0 at the right and the bottom and stacks them.

    While training, index planes are padded with ``PADDING_INDEX``; at test they keep the original
    size for the metric. A training sample of mmdet's own pipelines (``PackDetInputs``) gets its
    plane here, from its masks and its class map. Images that ``PanopticResize`` left to this place
    (``fit_to_input``) are resized here, to the same values. All other fields are left alone.

    Args:
        align_corners: whether the input has 32k+1 pixels per side, or 32k.
        size: (H, W) of the input while training and at test, so that shapes are static and no
            prediction depends on the other images of its batch. None pads to the largest image
            of the batch.
        mean, std: of the channels in the order of the input; by default x / 127.5 - 1.
        bgr_to_rgb: whether images come in the order BGR, as OpenCV reads them, and are turned.
        num_things_classes, num_stuff_classes: what the labels of mmdet's ground truth mean; the
            detector gives them. Without them, as in mmdet's own models, masks and class maps are
            padded instead.

    Raises:
        UserError: an image is no tensor (3, H, W) of uint8 or of floating-point numbers of that
            range, or larger than ``size``; ``size`` does not fit ``align_corners``; or a training
            sample has no ground truth.
    """

    def __init__(
        self,
        *,
        align_corners: bool,
        size: Size | None = None,
        mean: Sequence[float] = (127.5, 127.5, 127.5),
        std: Sequence[float] = (127.5, 127.5, 127.5),
        bgr_to_rgb: bool = True,
        num_things_classes: int | None = None,
        num_stuff_classes: int | None = None,
    ) -> None:
        super().__init__(mean=mean, std=std, bgr_to_rgb=bgr_to_rgb, non_blocking=True)
        self.align_corners = align_corners
        self.class_counts = (num_things_classes, num_stuff_classes)
        self.size = size and as_size(size, 'data_preprocessor.size')
        if self.size is not None and self.size != self.padded(self.size):
            raise UserError(
                f'data_preprocessor.size is {self.size}, but with align_corners={align_corners} '
                f'sides must be {"32k+1" if align_corners else "32k"}: use '
                f'{self.padded(self.size)}.'
            )

    def forward(self, data: dict, training: bool = False) -> dict[str, object]:
        """``inputs`` (B, 3, H, W) and ``data_samples``, which learn the size of their image."""
        if 'sizes' not in data:  # not stacked yet
            data = self.stack(data, training)
        samples = data.get('data_samples')
        data = self.cast_data({key: x for key, x in data.items() if key != 'data_samples'})
        size = self.input_size(data['inputs'])
        batch = self.normalize(data['inputs'], data['sizes'], size)
        if samples:
            samples = self.cast_data(samples) if training else [each.new() for each in samples]
        if 'planes' in data:
            planes = pad(data['planes'], size, PADDING_INDEX)
            samples = with_truth(dict(data, planes=planes, data_samples=samples))
        for inside, sample in zip(data['inside'], samples or ()):
            sample.set_metainfo(
                dict(batch_input_shape=size, pad_shape=size, input_image_shape=tuple(inside))
            )
            if training and 'planes' not in data:
                pad_masks(sample, size)
        return dict(inputs=batch, data_samples=samples)

    def stack(self, data: dict, training: bool) -> dict:
        """A batch of lists as one of a few tensors; at test, planes stay with their samples."""
        for image in data['inputs']:
            self.check_image(image, training)
        data = self.fit_plain_images(data)
        images, samples = data['inputs'], data.get('data_samples')
        if training and None not in self.class_counts:
            for image, sample in zip(images, samples or ()):
                add_index_map(sample, tuple(image.shape[-2:]), *self.class_counts)
        size = largest_size(images)
        stacked = {**stack_images(images, size), 'data_samples': samples}
        if training and samples and all(map(has_plane, samples)):
            stacked.update(stack_truth(samples, size))
        return stacked

    def check_image(self, image: Tensor, training: bool) -> None:
        """Refuse what is no image. Colors that change in training go far beyond 0..255."""
        channels = (len(self.mean),) if len(self.mean) > 1 else (1, 3)
        kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
        floating = isinstance(image, Tensor) and image.is_floating_point()
        if not floating and kind is not torch.uint8:
            problem = f'is of the type {kind}, but the model reads tensors of uint8: convert it'
        elif image.dim() != 3 or len(image) not in channels or 0 in image.shape:
            problem = (
                f'has the shape {tuple(image.shape)}, but the model reads (3, height, width): load '
                "it with color_type='color', and let no transform take channels away"
            )
        elif not floating:
            return
        elif training or not self.mean.any():
            finite = torch.isfinite(image).all()
            problem = None if finite else 'has values that are not finite: take it out'
        else:
            problem = range_problem(image, beyond=OVERSHOOT)
        if problem:
            raise UserError(f'An image of the pipeline {problem}.')

    def padded(self, size: Size) -> Size:
        """The smallest input that holds an image of ``size``."""
        return tuple(padded_side(side, align_corners=self.align_corners) for side in size)

    def fit_plain_images(self, data: dict) -> dict:
        """``data`` with the marked images at the largest size that fits into ``size``."""
        samples = data.get('data_samples') or ()
        marked = [sample.metainfo.get('fit_to_input', False) for sample in samples]
        if self.size is None or not any(marked):
            return data
        images = [
            resized(image, fitted_size(image.shape[-2:], self.size)) if mark else image
            for image, mark in zip(data['inputs'], marked)
        ]
        return dict(data, inputs=images)

    def input_size(self, images: Tensor) -> Size:
        """(H, W) of the input that holds images (B, C, H, W)."""
        height, width = images.shape[-2:]
        if self.size is None:
            return self.padded((height, width))
        if height > self.size[0] or width > self.size[1]:
            raise UserError(
                f'An image of {height}x{width} pixels does not fit data_preprocessor.size '
                f'{self.size}: resize or crop to it in the pipeline, or test in windows '
                '(model.test_windows).'
            )
        return self.size

    def normalize(self, images: Tensor, inside: Tensor, size: Size) -> Tensor:
        """Images (B, C, h, w) as RGB, less the mean, over the deviation, padded with 0 to ``size``.

        ``inside`` (B, 2) are the heights and widths of the images within their stack.
        """
        if self._channel_conversion:
            images = images.flip(1)
        values = images.to(torch.float32, memory_format=torch.contiguous_format)
        values = pad((values - self.mean) / self.std, size, 0)
        rows, columns = (
            torch.arange(side, device=inside.device) >= each[:, None]
            for side, each in zip(size, inside.T)
        )
        return values.masked_fill_(rows[:, None, :, None] | columns[:, None, None], 0)


def pad(plane: Tensor, size: Size, value: int) -> Tensor:
    """(..., h, w) padded to ``size`` at the right and the bottom."""
    if tuple(plane.shape[-2:]) == tuple(size):
        return plane
    return F.pad(plane, (0, size[1] - plane.shape[-1], 0, size[0] - plane.shape[-2]), value=value)


def resized(image: Tensor, size: Size) -> Tensor:
    """(3, H, W) at ``size``, by OpenCV as in the pipelines."""
    image = image.float() if image.is_floating_point() else image
    return image_tensor(resize_image(image.permute(1, 2, 0).cpu().numpy(), *size))
