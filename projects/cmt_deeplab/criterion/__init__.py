"""The criterion: targets, assigner and losses, on one plane of segment indices per image."""

from .assigner import PanopticHungarianAssigner
from .criterion import PanopticCriterion
from .discrimination_losses import (
    PanopticInstanceDiscriminationLoss,
    PanopticMaskDiscriminationLoss,
)
from .pq_loss import PanopticPQLoss
from .reference_points import segment_reference_points
from .small_losses import PanopticMaskIDLoss, PanopticReferencePointLoss, PanopticSemanticLoss
