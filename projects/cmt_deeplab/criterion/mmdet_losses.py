"""The losses of a config, and mmdet's losses of masks and classes on cluster centers.

The mask probability of a center is the softmax of the mask logits over the centers, because this is
what the merges read. mmdet's losses apply a sigmoid to what they get. So they get the log-odds
``log(p / (1 - p))`` of that softmax, whose sigmoid is p again, or p itself where they take
probabilities. With ``mask_probability='sigmoid'`` they get the mask logits as they are, as in
Mask2Former: the mask of each center is then trained for itself, and a center that is matched with
nothing is free to cover any pixel, also in the softmax of the merge.
"""

from collections.abc import Mapping

import torch
from mmdet.models import losses
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_deeplab.errors import UserError
from cmt_deeplab.parts import build_part
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.slots import SLOTS

from .loss_base import (
    PanopticLoss,
    check_mask_probability,
    check_number_of_samples,
    check_weights,
    mask_log_odds,
    place_named,
)
from .loss_input import LossInput, sample_pixels
from .targets import to_centers


def takes_probabilities(loss: nn.Module) -> bool:
    """Whether a loss of mmdet takes what it gets as probabilities, without a sigmoid."""
    return getattr(loss, 'activated', False) or not getattr(loss, 'activate', True)


class _AdaptedLoss(PanopticLoss):
    """A loss of mmdet; its own weight and the one of this loss are multiplied."""

    meaningful: tuple[type, ...]  # of the losses of mmdet and torch; others are taken on trust

    def __init__(self, *, loss: Mapping | nn.Module, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight=loss_weight)
        slot = f'{type(self).__name__}.loss'
        self.loss = loss if isinstance(loss, nn.Module) else build_part(slot, loss)
        self.kind = type(self.loss).__name__
        in_library = type(self.loss).__module__.partition('.')[0] in ('mmdet', 'torch')
        if in_library and not isinstance(self.loss, self.meaningful):
            raise UserError(f'{slot}: {self.kind} has no meaning there; {SLOTS[slot].fits} fit.')
        check_weights(f'{slot} ({self.kind})', loss_weight=getattr(self.loss, 'loss_weight', 1.0))

    def number(self, *inputs: Tensor, **keywords: Tensor) -> Tensor:
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

    Its term has the name of its entry in ``model.criterion.losses``.

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
        check_mask_probability('PanopticMaskLoss', mask_probability)
        self.mask_probability = mask_probability
        check_number_of_samples('PanopticMaskLoss', 'num_points', num_points)
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
    and sum over them.

    Its term has the name of its entry in ``model.criterion.losses``. Source: MaskFormer and
    Mask2Former, where void has the weight 0.1.

    Args:
        loss: config of the loss, or a loss of your own that is called as
            ``loss(pred, label, weight=weight, avg_factor=sum_of_weights)``.
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
        check_weights('PanopticClassLoss', void_weight=void_weight)
        self.void_weight = void_weight

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        logits = at_least_fp32(given.prediction.class_logits)  # (B, N, C+1)
        void = logits.shape[-1] - 1
        centers = given.stage.matched_centers(given.match)
        fill = centers.new_full(logits.shape[:2], void)
        labels = to_centers(given.planes.labels, centers, fill)  # (B, N)
        weights = torch.where(labels == void, self.void_weight, 1.0).to(logits)
        total = weights * self._class_weight(logits)[labels]
        averaged = getattr(self.loss, 'reduction', 'mean') == 'mean'
        one_hot = isinstance(self.loss, losses.FocalLoss)  # needs no compiled operator so
        if takes_probabilities(self.loss):
            logits = logits.softmax(-1)
        values = [
            self.number(
                image,
                F.one_hot(label, void + 1) if one_hot else label,
                weight=weight,
                avg_factor=factor if averaged else None,
            )
            for image, label, weight, factor in zip(logits, labels, weights, total.sum(1))
        ]
        return dict(loss=torch.stack(values).mean())

    def _class_weight(self, logits: Tensor) -> Tensor:
        """(C+1,) weights of the classes, 1 where the loss has none."""
        number, given = logits.shape[-1], getattr(self.loss, 'class_weight', None)
        if given is not None and len(given) != number:
            raise UserError(
                f'{self.kind}: class_weight has {len(given)} entries, but {number - 1} classes and '
                f'void need {number}.'
            )
        return logits.new_ones(number) if given is None else logits.new_tensor(given)


def adapted_loss(loss: nn.Module) -> nn.Module:
    """A loss of mmdet on cluster centers where its meaning is clear; others as they are.

    Raises:
        UserError: a loss of mmdet whose meaning is not clear, or that has none.
    """
    if (
        isinstance(loss, losses.DiceLoss)
        or getattr(loss, 'use_sigmoid', False)
        and isinstance(loss, losses.CrossEntropyLoss)
    ):
        return PanopticMaskLoss(loss=loss)
    if isinstance(loss, losses.CrossEntropyLoss):
        return PanopticClassLoss(loss=loss)
    if isinstance(loss, losses.FocalLoss):
        raise UserError(
            'FocalLoss can compare masks or classes: write '
            "dict(type='PanopticMaskLoss', loss=dict(type='FocalLoss', ...)) or "
            "dict(type='PanopticClassLoss', loss=dict(type='FocalLoss', ...))."
        )
    if type(loss).__module__.startswith(losses.__name__):
        raise UserError(
            f"{type(loss).__name__} has no meaning on cluster centers; mmdet's DiceLoss, "
            'CrossEntropyLoss and FocalLoss have, and every subclass of PanopticLoss fits.'
        )
    return loss


def build_losses(configs: Mapping[str, Mapping | None]) -> nn.ModuleDict:
    """The losses by name, without those that are None.

    Raises:
        UserError: there is no loss, or one of them is not described as a loss.
    """
    if not isinstance(configs, Mapping) or 'type' in configs:
        raise UserError(
            "model.criterion.losses is a dict by name: losses=dict(pq=dict(type='PanopticPQLoss'), "
            'mask_id=dict(...), ...), in which None switches a loss off; where a base config has '
            'the losses already, losses=dict(pq=dict(loss_weight=5.0)) changes one of them.'
        )
    losses = nn.ModuleDict()
    for name, config in configs.items():
        if config is None:
            continue
        place = f'model.criterion.losses.{name}'
        if not isinstance(name, str) or '.' in name or hasattr(losses, name):
            raise UserError(f'{place}: a loss cannot have the name {name!r}, choose another one.')
        if isinstance(config, Mapping) and 'type' not in config:
            raise UserError(
                f'{place} has no type, and there is no loss {name!r} in the base config that it '
                'changes: correct the name, or add the type.'
            )
        with place_named(place):
            losses[name] = build_part(place, config, adapt=adapted_loss)
    if not losses:
        raise UserError(
            'model.criterion.losses has no losses: give at least one, or leave the key out for '
            'the default ones.'
        )
    return losses
