"""The criterion: targets, assigner and losses, on one plane of segment indices per image."""

from cmt_deeplab.reference_points import segment_reference_points

from .assigner import PanopticHungarianAssigner
from .criterion import PanopticCriterion
from .discrimination_losses import (
    PanopticInstanceDiscriminationLoss,
    PanopticMaskDiscriminationLoss,
)
from .loss_base import PanopticLoss, image_mean
from .loss_input import LossInput
from .losses import (
    PanopticMaskIDLoss,
    PanopticPQLoss,
    PanopticReferencePointLoss,
    PanopticSemanticLoss,
)
from .mmdet_parts import PanopticClassLoss, PanopticMaskLoss, PanopticMatchCostAssigner
