"""Hungarian matching by mmdet's costs, and the assigner of a config."""

from collections.abc import Callable, Mapping, Sequence

import torch
from mmdet.models.task_modules import assigners
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.parts import build_part, part_class
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.slots import SLOTS
from cmt_deeplab.structures import MaskPrediction

from .assigner import PanopticHungarianAssigner
from .loss_base import check_mask_probability, check_weights, mask_log_odds
from .targets import SegmentPlanes

COSTS = 'model.criterion.assigner.match_costs'


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
        check_mask_probability('PanopticMatchCostAssigner', mask_probability)
        self.mask_probability = mask_probability
        with torch.device('cpu'):  # also where the model is built on the meta device
            for i, cost in enumerate(self.match_costs):
                self._try_out(f'{COSTS}.{i}', cost)

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

    @staticmethod
    def _try_out(place: str, cost: Callable) -> None:
        """Refuse a cost that cannot compare three centers with two segments."""
        check_weights(place, weight=getattr(cost, 'weight', 0))
        centers = InstanceData(scores=torch.zeros(3, 4), masks=torch.zeros(3, 5))
        segments = InstanceData(labels=torch.tensor([0, 2]), masks=torch.eye(2, 5))
        try:
            shape = tuple(cost(pred_instances=centers, gt_instances=segments).shape)
            reason = None if shape == (3, 2) else f'it gives {shape} in place of (N, K)'
        except Exception as error:
            reason = f'{type(error).__name__}: {error}' if str(error) else type(error).__name__
        if reason:
            name = type(cost).__name__
            raise UserError(
                f'{place}: {name} cannot compare cluster centers, which have scores (N, C+1) and '
                f'masks (N, P), with segments, which have labels (K,) and masks (K, P) ({reason}); '
                f'{SLOTS[COSTS].fits} fit.'
            )


def build_assigner(config: Mapping) -> Callable:
    """The assigner of a config; mmdet's HungarianAssigner becomes one for cluster centers.

    Raises:
        UserError: the config describes no assigner, or one of its costs does not fit.
    """
    costs = config.get('match_costs') if isinstance(config, Mapping) else None
    for i, cost in enumerate([costs] if isinstance(costs, Mapping | str) else costs or ()):
        part_class(f'{COSTS}.{i}', cost)

    def adapted(assigner: object) -> object:
        if getattr(type(assigner), 'assign', None) is not assigners.HungarianAssigner.assign:
            return assigner
        return PanopticMatchCostAssigner(match_costs=assigner.match_costs)

    return build_part('model.criterion.assigner', config, adapt=adapted)
