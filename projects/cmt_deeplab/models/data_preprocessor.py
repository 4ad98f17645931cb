"""Batching: images and index planes padded to the network's input size, values to [-1, 1]."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import fitted_size, image_tensor, padded_side, resize_image
from cmt_deeplab.structures import PADDING_INDEX


@MODELS.register_module()
class PanopticDataPreprocessor(ImgDataPreprocessor):
    """Normalizes images (x / 127.5 - 1 by default), pads them at the right and the bottom with 0 and stacks them.

    ``size`` (H, W) is the one input size of training and test, so that shapes are static and no prediction depends on the other images
    of its batch; None pads to the largest image of the batch, up to 32k+1 where corners are aligned and 32k where not. Index planes are
    padded with ``PADDING_INDEX`` while training; at test they keep the original size for the metric. Other fields are left alone. Images
    that ``PanopticResize`` left to this place (``fit_to_input``) are resized here, to the same values.
    Raises a ``ValueError`` for an image that is larger than ``size``.
    """

    def __init__(
        self,
        *,
        align_corners: bool,
        size: tuple[int, int] | None = None,
        mean: Sequence[float] = (127.5, 127.5, 127.5),
        std: Sequence[float] = (127.5, 127.5, 127.5),
        bgr_to_rgb: bool = True,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(mean=mean, std=std, bgr_to_rgb=bgr_to_rgb, non_blocking=non_blocking)
        self.align_corners = align_corners
        self.size = None if size is None else tuple(size)
        if self.size is not None:
            wanted = tuple(padded_side(side, align_corners=align_corners) for side in self.size)
            if wanted != self.size:
                raise UserError(
                    f'data_preprocessor.size is {self.size}, but with align_corners={align_corners} sides must be '
                    f'{"32k+1" if align_corners else "32k"}: use {wanted}'
                )

    def forward(self, data: dict, training: bool = False) -> dict[str, object]:
        data = self.cast_data(self.fit_plain_images(data))
        images, samples = data['inputs'], data.get('data_samples')
        height, width = size = self.input_size(images)
        batch = torch.stack(
            [
                F.pad(
                    self.normalize(image), (0, width - image.shape[-1], 0, height - image.shape[-2])
                )
                for image in images
            ]
        )
        for image, sample in zip(images, samples or ()):
            sample.set_metainfo(
                dict(
                    batch_input_shape=size,
                    pad_shape=size,
                    input_image_shape=tuple(image.shape[-2:]),
                )
            )
            if training and 'gt_panoptic_seg' in sample:
                self.pad_index_map(sample, size)
        return dict(inputs=batch, data_samples=samples)

    def fit_plain_images(self, data: dict) -> dict:
        """``data`` with the marked images at the largest size that fits into ``size``."""
        marked = [
            sample.metainfo.get('fit_to_input', False) for sample in data.get('data_samples') or ()
        ]
        if self.size is None or not any(marked):
            return data
        return dict(
            data,
            inputs=[
                resized(image, fitted_size(image.shape[-2:], self.size)) if mark else image
                for image, mark in zip(data['inputs'], marked)
            ],
        )

    def input_size(self, images: Sequence[Tensor]) -> tuple[int, int]:
        largest = tuple(max(image.shape[axis] for image in images) for axis in (-2, -1))
        if self.size is None:
            return tuple(padded_side(side, align_corners=self.align_corners) for side in largest)
        if largest[0] > self.size[0] or largest[1] > self.size[1]:
            raise UserError(
                f'an image of {largest[0]}x{largest[1]} pixels does not fit data_preprocessor.size {self.size}: resize or '
                f'crop to it in the pipeline'
            )
        return self.size

    def normalize(self, image: Tensor) -> Tensor:
        if self._channel_conversion and image.shape[0] == 3:
            image = image[[2, 1, 0]]
        return (image.float() - self.mean) / self.std

    def pad_index_map(self, sample, size: tuple[int, int]) -> None:
        seg = sample.gt_panoptic_seg
        index = seg.index_map
        padded = F.pad(
            index, (0, size[1] - index.shape[-1], 0, size[0] - index.shape[-2]), value=PADDING_INDEX
        )
        del seg.index_map
        seg.index_map = padded


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 at ``size``, by OpenCV as in the pipelines."""
    return image_tensor(resize_image(image.permute(1, 2, 0).cpu().numpy(), *size))
