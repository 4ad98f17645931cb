"""The criterion: match centers to segments, then sum the losses of every prediction stage."""

from collections.abc import Mapping, Sequence

from mmdet.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MaskPrediction, PanopticTarget

from .pixel_sampling import Generators
from .segment_planes import SegmentPlanes

DEFAULT_LOSSES = dict(
    pq=dict(type='PanopticPQLoss', loss_weight=3.0),
    mask_id=dict(type='PanopticMaskIDLoss', loss_weight=0.3),
    discrimination=dict(type='PanopticInstanceDiscriminationLoss', loss_weight=1.0),
    semantic=dict(type='PanopticSemanticLoss', loss_weight=1.0),
    reference_points=dict(type='PanopticReferencePointLoss', loss_weight=1.0),
)


def _untouched(*tensors: Tensor | None) -> Tensor:
    """0 that depends on every tensor, so that each parameter behind them gets a gradient (of zeros); inf and nan do not pass."""
    return sum(tensor[:0].float().sum() for tensor in tensors if tensor is not None)


def _build_loss(config: dict, num_things_classes: int | None) -> nn.Module:
    kind = MODELS.get(config['type']) if isinstance(config['type'], str) else config['type']
    handed_down = (
        dict(num_things_classes=num_things_classes)
        if getattr(kind, 'reads_num_things_classes', False)
        else {}
    )
    return MODELS.build({**handed_down, **config})


@MODELS.register_module()
class PanopticCriterion(nn.Module):
    """Losses of a list of predictions, the last being the final one, the others deep supervision at their own sizes.

    The result is flat: the final stage's terms by their own names, those of stage i prefixed ``s{i}.``. Every term is computed per image
    and averaged over the batch, so two processes equal one with the double batch. The matching of the final prediction serves all stages,
    or each stage has its own (``share_final_match=False``). ``num_classes`` is C, without void; both counts come from the detector.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        num_things_classes: int | None = None,
        assigner: dict = dict(type='PanopticHungarianAssigner'),
        losses: Mapping[str, dict | None] | Sequence[dict] = DEFAULT_LOSSES,
        share_final_match: bool = True,
        deep_supervision_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if isinstance(losses, Mapping):
            losses = [loss for loss in losses.values() if loss is not None]
        if not losses:
            raise UserError(
                'PanopticCriterion got no losses: list at least one, or leave the key out for the default ones.'
            )
        self.num_classes = num_classes
        self.assigner = TASK_UTILS.build(assigner)
        self.losses = nn.ModuleList(_build_loss(loss, num_things_classes) for loss in losses)
        self.share_final_match = share_final_match
        self.deep_supervision_weight = deep_supervision_weight

    def forward(
        self,
        predictions: list[MaskPrediction],
        targets: list[PanopticTarget],
        generator: Generators = None,
        *,
        semantic_logits: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Weighted losses by name. ``generator`` seeds the pixel sampling: one for the batch, or a list with one for each image.
        ``semantic_logits`` (B, C+1, h, w) of the auxiliary head; without them there is no semantic loss.

        Raises:
            ValueError: class counts, batch sizes or plane sizes disagree, or a similarity of the matching is not finite.
        """
        self._check(predictions, targets, semantic_logits)
        planes = SegmentPlanes.of(targets)
        final_match = self.assigner(predictions[-1], planes)
        result: dict[str, Tensor] = {}
        for number, prediction in enumerate(predictions):
            final = number == len(predictions) - 1
            match = (
                final_match
                if final or self.share_final_match
                else self.assigner(prediction, planes)
            )
            terms: dict[str, Tensor] = {}
            for loss in self.losses:
                if not loss.reads_semantic_logits:
                    terms.update(loss(prediction, planes, match, generator))
                elif final and semantic_logits is not None:
                    terms.update(loss(semantic_logits, planes, match, generator))
            for name, value in terms.items():
                result[name if final else f's{number}.{name}'] = (
                    value if final else self.deep_supervision_weight * value
                )
        if not result:
            raise UserError(
                'None of the losses of PanopticCriterion applies: a semantic loss needs the semantic head, '
                'PanopticReferencePointLoss needs reference points.'
            )
        first = next(iter(result))
        result[first] = result[first] + _untouched(
            semantic_logits, *(tensor for p in predictions for tensor in vars(p).values())
        )
        return result

    def _check(
        self,
        predictions: list[MaskPrediction],
        targets: list[PanopticTarget],
        semantic_logits: Tensor | None,
    ) -> None:
        if not predictions:
            raise UserError(
                'PanopticCriterion got no predictions: give a list whose last entry is the final prediction.'
            )
        channels = {
            f'class_logits of stage {i}': p.class_logits.shape[-1]
            for i, p in enumerate(predictions)
        }
        if semantic_logits is not None:
            channels['semantic_logits'] = semantic_logits.shape[1]
        for name, number in channels.items():
            if number != self.num_classes + 1:
                raise UserError(
                    f'The {name} have {number} channels, num_classes={self.num_classes} and void make '
                    f'{self.num_classes + 1}: set the class counts in the detector only, it hands them down.'
                )
        if len(targets) != len(predictions[-1].mask_logits):
            raise UserError(
                f'PanopticCriterion got {len(targets)} targets for {len(predictions[-1].mask_logits)} images.'
            )
