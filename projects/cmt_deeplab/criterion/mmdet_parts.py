"""mmdet's losses of masks and classes, and its matching costs, on cluster centers.

The mask probability of a center is the softmax of the mask logits over the centers, which is what
the merges read. mmdet's losses apply a sigmoid to what they get. So they get the log-odds
``log(p / (1 - p))`` of that softmax, whose sigmoid is p again, or p itself where they take
probabilities. With ``mask_probability='sigmoid'`` they get the mask logits as they are, as in
Mask2Former: a center that is matched with nothing is then free to cover any pixel.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.models import losses
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_deeplab.errors import UserError
from cmt_deeplab.parts import build_part
from cmt_deeplab.precision import at_least_fp32, softmax_log_odds
from cmt_deeplab.slots import SLOTS
from cmt_deeplab.structures import MaskPrediction

from .assigner import PanopticHungarianAssigner
from .loss_base import SAMPLES, WEIGHT, PanopticLoss, check, one_of
from .loss_input import LossInput, sample_pixels
from .targets import SegmentPlanes, to_centers

COSTS = 'model.criterion.assigner.match_costs'
MASK_PROBABILITY = one_of('softmax', 'sigmoid')


def mask_log_odds(logits: Tensor, mask_probability: str) -> Tensor:
    """Numbers (N, P) in fp32 whose sigmoid is the mask probability, from mask logits (N, P).

    The mask probability is ``'softmax'`` over the centers, which is what the merges read, or
    ``'sigmoid'`` of each logit, as in MaskFormer and Mask2Former.
    """
    if mask_probability == 'softmax':
        return softmax_log_odds(logits)
    return at_least_fp32(logits)


def takes_probabilities(loss: nn.Module) -> bool:
    """Whether a loss of mmdet takes what it gets as probabilities, without a sigmoid."""
    return getattr(loss, 'activated', False) or not getattr(loss, 'activate', True)


class _AdaptedLoss(PanopticLoss):
    """A loss of mmdet; its own weight and the one of this loss are multiplied.

    Its term has the name of its entry in ``model.criterion.losses``.
    """

    meaningful: tuple[type, ...]  # of the losses of mmdet and torch; others are taken on trust

    def __init__(self, *, loss: Mapping | nn.Module, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight=loss_weight)
        slot = f'{type(self).__name__}.loss'
        self.loss = loss if isinstance(loss, nn.Module) else build_part(slot, loss)
        self.kind = type(self.loss).__name__
        in_library = type(self.loss).__module__.partition('.')[0] in ('mmdet', 'torch')
        if in_library and not isinstance(self.loss, self.meaningful):
            raise UserError(f'{slot}: {self.kind} has no meaning there; {SLOTS[slot].fits} fit.')
        check(f'{slot} ({self.kind})', WEIGHT, loss_weight=getattr(self.loss, 'loss_weight', 1.0))

    def number(self, *inputs: Tensor, **keywords: Any) -> Tensor:
        """What the loss gives for one image, which must be one number."""
        value = self.loss(*inputs, **keywords)
        if not isinstance(value, Tensor) or value.shape != ():
            raise UserError(
                f"{self.kind} must give one number for each image: leave its reduction at 'mean'."
            )
        return value


@MODELS.register_module()
class PanopticMaskLoss(_AdaptedLoss):
    """mmdet's DiceLoss, FocalLoss or binary CrossEntropyLoss on the masks of matched centers.

    The loss gets the M matched masks of an image and, as 0 and 1, their segments, (M, P) each, at
    the pixels of matched segments; void, padding and the pixels of unmatched segments are left out.
    It averages over them, an image without a matched segment has 0, and the mean over the images is
    taken. In mmdet's heads the average is over the masks of all images and processes together.

    Args:
        loss: config of the loss, ``CrossEntropyLoss`` with ``use_sigmoid=True``, or a loss of your
            own that is called as ``loss(pred, target)``.
        mask_probability: ``'softmax'`` over the centers, or ``'sigmoid'`` of each logit; see this
            module.
        num_points: takes so many of the labeled pixels, drawn at random; None takes all of them.
    """

    meaningful = (losses.DiceLoss, losses.FocalLoss, losses.CrossEntropyLoss, nn.BCEWithLogitsLoss)

    def __init__(
        self, *, mask_probability: str = 'softmax', num_points: int | None = None, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(self.loss, losses.CrossEntropyLoss) and not self.loss.use_sigmoid:
            raise UserError(
                'PanopticMaskLoss.loss: CrossEntropyLoss compares masks with use_sigmoid=True; '
                'without it, it compares classes and belongs into PanopticClassLoss.'
            )
        check('PanopticMaskLoss', MASK_PROBABILITY, mask_probability=mask_probability)
        self.mask_probability = mask_probability
        check('PanopticMaskLoss', SAMPLES, num_points=num_points)
        self.num_points = num_points

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        position, _ = sample_pixels(given.stage, self.num_points, 0.0, given.generator)  # (B, n)
        segments = given.stage.segment.gather(1, position)
        centers = given.stage.matched_centers(given.match)  # (B, K+1)
        values = []
        for logits, pixels, segment, center in zip(
            given.prediction.mask_logits, position, segments, centers
        ):
            kept = center[segment] >= 0
            logits = at_least_fp32(logits).flatten(1)[:, pixels[kept]]  # (N, P)
            matched = torch.nonzero(center >= 0)[:, 0]
            if not kept.any():
                values.append(logits.sum())  # 0, of no pixel
                continue
            masks = mask_log_odds(logits, self.mask_probability)[center[matched]]  # (M, P)
            if takes_probabilities(self.loss):
                masks = masks.sigmoid()
            values.append(self.number(masks, (segment[kept] == matched[:, None]).to(masks)))
        return dict(loss=torch.stack(values).mean())


@MODELS.register_module()
class PanopticClassLoss(_AdaptedLoss):
    """mmdet's CrossEntropyLoss or FocalLoss on the classes of all centers.

    Matched centers have the class of their segment, all others void, which is class C. An image's
    loss is the weighted mean over its centers, where the weight is ``void_weight`` for void times
    the ``class_weight`` of CrossEntropyLoss; then the mean over the images is taken. FocalLoss, and
    CrossEntropyLoss with ``use_sigmoid=True``, take each of the C+1 channels for itself, void too,
    and sum over them. Source: MaskFormer and Mask2Former, where void has the weight 0.1.

    Args:
        loss: config of the loss, or a loss of your own that is called as
            ``loss(pred, label, weight=weight, avg_factor=sum_of_weights)`` for each image, with
            its N centers.
        void_weight: weight of the centers that are matched with nothing.
    """

    meaningful = (losses.FocalLoss, losses.CrossEntropyLoss)

    def __init__(self, *, void_weight: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        if getattr(self.loss, 'use_mask', False):
            raise UserError(
                'PanopticClassLoss.loss: use_mask=True of CrossEntropyLoss picks one of the masks '
                'that a region has for each class, but a center has one mask: write '
                'use_sigmoid=True and PanopticMaskLoss for masks, or remove the key for classes.'
            )
        check('PanopticClassLoss', WEIGHT, void_weight=void_weight)
        self.void_weight = void_weight

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        logits = at_least_fp32(given.prediction.class_logits)  # (B, N, C+1)
        void = logits.shape[-1] - 1
        centers = given.stage.matched_centers(given.match)
        fill = centers.new_full(logits.shape[:2], void)
        labels = to_centers(given.planes.labels, centers, fill)  # (B, N)
        weights = torch.where(labels == void, self.void_weight, 1.0).to(logits)
        of_classes = getattr(self.loss, 'class_weight', None)
        if of_classes is not None and len(of_classes) != void + 1:
            raise UserError(
                f'{self.kind}: class_weight has {len(of_classes)} entries, but {void} classes and '
                f'void need {void + 1}.'
            )
        total = weights if of_classes is None else weights * logits.new_tensor(of_classes)[labels]
        averaged = getattr(self.loss, 'reduction', 'mean') == 'mean'
        if takes_probabilities(self.loss):
            logits = logits.softmax(-1)
        if isinstance(self.loss, losses.FocalLoss):  # needs no compiled operator so
            labels = F.one_hot(labels, void + 1)
        values = [
            self.number(image, label, weight=weight, avg_factor=factor if averaged else None)
            for image, label, weight, factor in zip(logits, labels, weights, total.sum(1))
        ]
        return dict(loss=torch.stack(values).mean())


@TASK_UTILS.register_module()
class PanopticMatchCostAssigner(PanopticHungarianAssigner):
    """Hungarian matching by the sum of mmdet's matching costs.

    mmdet's ``HungarianAssigner`` in ``model.criterion.assigner`` becomes one of these. Costs of
    classes read the class logits (N, C+1), void last. Costs of masks read, at the labeled pixels of
    the prediction's size, the log-odds of the mask probability, to which they apply a sigmoid, or
    with ``DiceCost(pred_act=False)`` the mask probability itself. What stays unmatched is as in
    :class:`PanopticHungarianAssigner`. Beside the mask logits of one image, memory holds about five
    tensors of their size.

    Args:
        match_costs: one or more configs: ClassificationCost, FocalLossCost (of classes, or of masks
            with ``binary_input=True``), DiceCost, CrossEntropyLossCost, or costs of your own, which
            are called as those of mmdet.
        mask_probability: ``'softmax'`` over the centers, or ``'sigmoid'`` of each logit.
    """

    def __init__(
        self, *, match_costs: Mapping | Sequence[Mapping], mask_probability: str = 'softmax'
    ) -> None:
        super().__init__()
        costs = [match_costs] if isinstance(match_costs, Mapping) else match_costs
        if not costs:
            raise UserError(
                f"{COSTS} is empty: give at least one cost, such as dict(type='DiceCost')."
            )
        self.match_costs = [
            build_part(f'{COSTS}.{i}', cost) if isinstance(cost, Mapping) else cost
            for i, cost in enumerate(costs)
        ]
        check('PanopticMatchCostAssigner', MASK_PROBABILITY, mask_probability=mask_probability)
        self.mask_probability = mask_probability
        for i, cost in enumerate(self.match_costs):
            check(f'{COSTS}.{i}', WEIGHT, weight=getattr(cost, 'weight', 0))

    def score(
        self, prediction: MaskPrediction, planes: SegmentPlanes, probability: Tensor, dice: Tensor
    ) -> Tensor:
        stage = planes.at(prediction.mask_logits)
        scores = torch.zeros_like(dice)  # (B, N, K+1)
        for image, number in enumerate(planes.num_segments):
            labeled = stage.labeled[image]
            if not labeled.any():
                continue
            segment = stage.segment[image, labeled]
            masks = segment == torch.arange(number, device=segment.device)[:, None]
            # A label that is no class is reported with the one copy; until then any class serves.
            labels = planes.labels[image, :number].clamp(0, prediction.class_logits.shape[-1] - 2)
            truth = InstanceData(labels=labels, masks=masks.float())
            logits = at_least_fp32(prediction.mask_logits[image]).flatten(1)[:, labeled]
            classes = at_least_fp32(prediction.class_logits[image])
            odds = mask_log_odds(logits, self.mask_probability)
            for cost in self.match_costs:
                found = odds if getattr(cost, 'pred_act', True) else odds.sigmoid()
                scores[image, :, :number] -= cost(
                    pred_instances=InstanceData(scores=classes, masks=found), gt_instances=truth
                )
        return scores
