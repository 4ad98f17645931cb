"""Large images in test and inference: overlapping windows are predicted one by one and joined."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from numbers import Real

import torch
from mmdet.structures import DetDataSample, SampleList
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size, as_size
from cmt_deeplab.postprocess import JoinedWindows, PanopticResult, windows_of

from .outputs import add_result

SMALLEST = 32  # side of a window, the coarsest stride of a network


class PredictedInWindows:
    """A detector that predicts images beyond ``test_windows`` window by window.

    An image that fits into one window is predicted as without windows. Otherwise each window is an
    image to the model: the data preprocessor resizes one that is larger than the input. As many
    windows as there are images in the batch are predicted at a time, and beside them there is the
    map of the image alone. See :class:`JoinedWindows` for how their segments become one picture.
    """

    test_windows: dict | None = None

    def set_test_windows(
        self, size: Sequence[int] | None = None, overlap: float = 0.25, least_iou: float = 0.5
    ) -> None:
        """Predict in windows from now on.

        Args:
            size: (height, width) of a window, by default that of the model's input.
            overlap: the share of a side that neighbors have in common, or more.
            least_iou: above which two things are one, in the pixels that both windows see.

        Raises:
            UserError: a value is out of its range.
        """
        size = size or getattr(self.data_preprocessor, 'size', None)
        if size is None:
            raise UserError(
                'model.test_windows has no size, and data_preprocessor.size is None: give '
                "test_windows=dict(size=(height, width)), such as the training's crop."
            )
        for key, value, most in (('overlap', overlap, 0.5), ('least_iou', least_iou, 1)):
            if not (isinstance(value, Real) and 0 < value <= most):
                raise UserError(
                    f'model.test_windows.{key} is {value!r}: give a number above 0 and at most '
                    f'{most}.'
                )
        size = as_size(size, 'model.test_windows.size')
        if min(size) < SMALLEST:
            raise UserError(
                f'model.test_windows.size is {size}: give at least {SMALLEST} pixels on each side.'
            )
        self.test_windows = dict(size=size, overlap=overlap, least_iou=least_iou)

    def val_step(self, data: Mapping) -> SampleList:
        return self.in_windows(super().val_step, data)

    def test_step(self, data: Mapping) -> SampleList:
        return self.in_windows(super().test_step, data)

    @torch.no_grad()
    def in_windows(self, step: Callable[[dict], SampleList], data: Mapping) -> SampleList:
        """What ``step`` predicts of a batch of loaded images, each window by window if it is large.

        Returns:
            The samples with their predictions.
        """
        if self.test_windows is None:
            return step(data)
        images, samples = data['inputs'], data['data_samples']
        size, limit = self.test_windows['size'], getattr(self.data_preprocessor, 'size', None)
        fits = limit is not None and (size[0] > limit[0] or size[1] > limit[1])
        for sample in samples:
            if fits or sample.metainfo.get('fit_to_input'):
                sample.set_metainfo(dict(fit_to_input=fits))
        if all(_within(image, size) for image in images):
            return step(data)
        return [
            self._joined(step, image, sample, at_a_time=len(images))
            for image, sample in zip(images, samples)
        ]

    def _joined(
        self, step: Callable, image: Tensor, sample: DetDataSample, *, at_a_time: int
    ) -> DetDataSample:
        """The sample of one image (3, H, W) with its prediction."""
        size, overlap, least_iou = self.test_windows.values()
        if _within(image, size):
            return step(dict(inputs=[image], data_samples=[sample]))[0]
        shape = tuple(image.shape[-2:])
        joined = JoinedWindows(
            shape,
            num_things_classes=self.num_things_classes,
            num_classes=self.num_classes,
            least_iou=least_iou,
        )
        windows = iter(windows_of(shape, size, overlap))
        while batch := list(islice(windows, at_a_time)):
            pieces = [image[(..., *window.slices)] for window in batch]
            for window, found in zip(batch, step(_as_images(pieces, sample))):
                found = found.pred_panoptic_seg
                joined.add(window, PanopticResult(found.sem_seg[0], found.segments_info))
        add_result(self, sample, joined.result(tuple(sample.ori_shape[:2])))
        return sample


def _within(image: Tensor, size: Size) -> bool:
    return image.shape[-2] <= size[0] and image.shape[-1] <= size[1]


def _as_images(pieces: Sequence[Tensor], sample: DetDataSample) -> dict:
    """A batch of pieces of the image of ``sample``, each as an image of its own."""
    samples = []
    for piece in pieces:
        size = tuple(piece.shape[-2:])
        own = dict(ori_shape=size, img_shape=size, scale_factor=(1.0, 1.0))
        samples.append(DetDataSample(metainfo={**sample.metainfo, **own}))
    return dict(inputs=list(pieces), data_samples=samples)
