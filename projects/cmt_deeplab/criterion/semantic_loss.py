"""Semantic cross-entropy of the auxiliary head."""

from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MatchResult

from .loss_base import PanopticLoss, image_mean
from .pixel_sampling import Generators, sample_pixels
from .segment_planes import SegmentPlanes


@MODELS.register_module()
class PanopticSemanticLoss(PanopticLoss):
    """``loss_semantic``: cross-entropy over C + 1 channels at sampled labeled pixels, mean over them; its first argument are logits
    (B, C+1, h, w).

    The void channel is the last, or the first with ``void_first`` (the order of released TensorFlow weights). Void pixels are no
    target: the channel only takes part in the softmax. Sampling: see :func:`sample_pixels`. Source: kMaX-DeepLab's code.
    """

    reads_semantic_logits = True
    needs_match = False

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        num_samples: int = 4096,
        sample_temperature: float = 2.0,
        void_first: bool = False,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        self.num_samples = num_samples
        self.sample_temperature = sample_temperature
        self.void_first = void_first

    def terms(
        self,
        prediction: Tensor,
        planes: SegmentPlanes,
        match: MatchResult | None,
        generator: Generators,
    ) -> dict[str, Tensor]:
        stage = planes.at(prediction.shape[-2:])
        position, valid = sample_pixels(
            stage, self.num_samples, self.sample_temperature, generator
        )  # (B, n) each
        logits = prediction.flatten(2).gather(
            2, position[:, None].expand(-1, prediction.shape[1], -1)
        )  # (B, C+1, n)
        label = planes.labels.gather(1, stage.segment.gather(1, position)) + int(self.void_first)
        return dict(
            loss_semantic=image_mean(
                F.cross_entropy(at_least_fp32(logits), label, reduction='none'), valid
            )
        )
