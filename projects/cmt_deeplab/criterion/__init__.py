"""The criterion: targets, assigner and losses, on one plane of segment indices per image."""

from .assigner import PanopticHungarianAssigner
from .criterion import PanopticCriterion
from .discrimination_losses import (
    PanopticInstanceDiscriminationLoss,
    PanopticMaskDiscriminationLoss,
)
from .loss_base import LossInput, PanopticLoss, image_mean
from .losses import (
    PanopticMaskIDLoss,
    PanopticPQLoss,
    PanopticReferencePointLoss,
    PanopticSemanticLoss,
)
from .match_costs import PanopticMatchCostAssigner
from .mmdet_losses import PanopticClassLoss, PanopticMaskLoss
from .reference_points import segment_reference_points
