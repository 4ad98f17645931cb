"""Test-time augmentation: a mean over an image, its mirror image and other scales, then one merge.

Centers are no boxes: center 7 of one pass and center 7 of another need not stand for the same
segment, since every pass decides anew which center takes which. So the centers of two passes are
matched one to one before anything is averaged. A pair is alike by the Dice coefficient of its masks
(mirrored back, as a softmax over the centers) times the probability that both have the same class,
void among the classes. An object that only one pass has found meets a void center, and its class
probability is halved, as it should be.
"""

from collections.abc import Sequence
from numbers import Real

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.model import BaseTTAModel
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import padded_side, resize, stride_between

from .data_preprocessor import pad
from .detectors import CMTDeepLab
from .detectors.outputs import add_prediction

DIVISOR = 8  # a multiple of the strides of masks


@MODELS.register_module()
class PanopticTTAModel(BaseTTAModel):
    """A :class:`CMTDeepLab` that predicts each image several times and merges the mean.

    The mean is that of mask logits and of class probabilities, over matched centers. It takes the
    samples of the plain test pipeline and makes the other images itself, each of them padded at the
    right and the bottom like the image. Before that, sides are resized to a multiple of 8 pixels
    (plus one where corners are aligned), so that a mirrored mask lies on the same grid. Nothing
    tells the two mirror images apart: mirroring the image mirrors the result.

    Args:
        module: the model, or its config.
        scales: factors for the size of the images; the masks are merged at the first.
        flip: whether each scale is predicted on the mirror image too.
    """

    merge_preds = None  # mmengine merges finished predictions, which is too late here

    def __init__(
        self, module: dict | nn.Module, *, scales: Sequence[float] = (1.0,), flip: bool = True
    ) -> None:
        super().__init__(module)
        if not isinstance(self.module, CMTDeepLab):
            raise UserError(
                f'PanopticTTAModel averages the masks of CMTDeepLab, and the model is a '
                f'{type(self.module).__name__}: test it without --tta.'
            )
        if not scales or not all(isinstance(scale, Real) and scale > 0 for scale in scales):
            raise UserError(f'tta_model.scales is {scales!r}: give positive numbers.')
        self.scales, self.flip, self.aligned = scales, flip, self.module.align_corners

    def test_step(self, data: dict) -> SampleList:
        """The samples with their predictions, as those of ``CMTDeepLab.test_step``."""
        return self.module.in_windows(self.predict_batch, data)

    def predict_batch(self, data: dict) -> SampleList:
        """A batch of images, or of windows of large images, as the pipeline gives it."""
        data = self.module.data_preprocessor(data, training=False)
        for image, sample in zip(data['inputs'], data['data_samples']):
            self.predict_image(image, sample)
        return data['data_samples']

    def predict_image(self, padded_image: Tensor, sample: DetDataSample) -> None:
        """Add ``pred_panoptic_seg`` to the sample of an image (3, H, W), which has its padding."""
        height, width = sample.input_image_shape
        image, means, sizes = padded_image[:, :height, :width], [], {}
        for scale in self.scales:
            size = [self.regular(side * scale) for side in (height, width)]
            sides = zip(padded_image.shape[1:], size)
            padded = [
                padded_side(max(round(side * scale), inside), align_corners=self.aligned)
                for side, inside in sides
            ]
            scaled = self.resize(image, size)
            images = [scaled, scaled.flip(-1)] if self.flip else [scaled]
            batch = torch.stack([pad(each, padded, 0) for each in images])
            final = self.module.network(batch).decoder.predictions[-1]
            self.module.check_finite(final, [sample])
            grid = final.mask_logits.shape[-2:]
            stride = stride_between(padded[0], grid[0])
            rows, columns = ((side - self.aligned) // stride + self.aligned for side in size)
            masks = [*final.mask_logits[..., :rows, :columns].float()]
            if self.flip:
                masks[1] = masks[1].flip(-1)
            if not means:
                shape, border = (rows, columns), (0, grid[1] - columns, 0, grid[0] - rows)
                sizes = dict(input_size=padded, image_size=size)
            mask_logits, class_logits = mean_prediction([*zip(masks, final.class_logits.float())])
            means.append((self.resize(mask_logits, shape), class_logits))
        mask_logits, class_logits = mean_prediction(means)
        # Padding says nothing: there the last row and column of the image are repeated.
        mask_logits = F.pad(mask_logits[None], border, mode='replicate')[0]
        add_prediction(self.module, sample, mask_logits, class_logits, **sizes)

    def resize(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """Maps (C, H, W) at another size."""
        return resize(maps[None], size, align_corners=self.aligned)[0]

    def regular(self, side: float) -> int:
        """The nearest side of an image at which a mirrored mask lies on the same grid."""
        return max(round((side - self.aligned) / DIVISOR), 1) * DIVISOR + self.aligned


def mean_prediction(passes: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The mean of predictions of one image, each with its own order of the centers.

    Args:
        passes: mask logits (N, h, w) and class logits (N, C+1) of each prediction, in fp32.

    Returns:
        The mean mask logits and the logarithms of the mean class probabilities, in the order of the
        centers of the first prediction.
    """
    (first_masks, first_classes), *others = passes
    masks, classes = [first_masks], [first_classes.softmax(-1)]
    for mask_logits, class_logits in others:
        order = matched_centers(first_masks, classes[0], mask_logits, class_logits.softmax(-1))
        masks.append(mask_logits[order])
        classes.append(class_logits.softmax(-1)[order])
    mean = sum(classes) / len(classes)
    return sum(masks) / len(masks), mean.clamp(min=torch.finfo(mean.dtype).tiny).log()


def matched_centers(
    masks: Tensor, classes: Tensor, other_masks: Tensor, other_classes: Tensor
) -> Tensor:
    """For each center of a prediction the one of another that stands for the same, (N,) int64.

    Args:
        masks, other_masks: mask logits (N, h, w) of the two predictions.
        classes, other_classes: class probabilities (N, C+1), void last.
    """
    with torch.autocast(masks.device.type, enabled=False):
        one, other = (each.flatten(1).softmax(0) for each in (masks, other_masks))
        energy = one.square().sum(1)[:, None] + other.square().sum(1)
        dice = 2 * one @ other.T / energy.clamp(min=1e-6)
        similarity = dice * (classes @ other_classes.T)
    _, order = linear_sum_assignment(similarity.nan_to_num().cpu().numpy(), maximize=True)
    return torch.as_tensor(order, device=masks.device)
