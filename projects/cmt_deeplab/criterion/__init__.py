"""The criterion: targets, assigner and losses, on one plane of segment indices per image."""

from .assigner import PanopticHungarianAssigner, PanopticMatchCostAssigner
from .criterion import PanopticCriterion
from .discrimination_losses import (
    PanopticInstanceDiscriminationLoss,
    PanopticMaskDiscriminationLoss,
)
from .loss_base import LossInput, PanopticLoss, image_mean
from .mmdet_losses import PanopticClassLoss, PanopticMaskLoss
from .pq_loss import PanopticPQLoss
from .reference_points import segment_reference_points
from .small_losses import PanopticMaskIDLoss, PanopticReferencePointLoss, PanopticSemanticLoss
