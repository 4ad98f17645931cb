"""Criterion: assigner and losses on index planes."""

from .assigner import PanopticHungarianAssigner
from .criterion import PanopticCriterion
from .instance_discrimination_loss import PanopticInstanceDiscriminationLoss
from .mask_discrimination_loss import PanopticMaskDiscriminationLoss
from .mask_id_loss import PanopticMaskIDLoss
from .pq_loss import PanopticPQLoss
from .reference_point_loss import PanopticReferencePointLoss
from .reference_points import segment_reference_points
from .semantic_loss import PanopticSemanticLoss

__all__ = [
    'PanopticCriterion',
    'PanopticHungarianAssigner',
    'PanopticInstanceDiscriminationLoss',
    'PanopticMaskDiscriminationLoss',
    'PanopticMaskIDLoss',
    'PanopticPQLoss',
    'PanopticReferencePointLoss',
    'PanopticSemanticLoss',
    'segment_reference_points',
]
