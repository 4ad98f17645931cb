"""Criterion: assigner and losses on index planes."""
from cmt_deeplab.criterion.assigner import PanopticHungarianAssigner
from cmt_deeplab.criterion.criterion import PanopticCriterion
from cmt_deeplab.criterion.instance_discrimination_loss import PanopticInstanceDiscriminationLoss
from cmt_deeplab.criterion.mask_discrimination_loss import PanopticMaskDiscriminationLoss
from cmt_deeplab.criterion.mask_id_loss import PanopticMaskIDLoss
from cmt_deeplab.criterion.plane_at_stride import plane_at_stride
from cmt_deeplab.criterion.pq_loss import PanopticPQLoss
from cmt_deeplab.criterion.reference_point_loss import PanopticReferencePointLoss
from cmt_deeplab.criterion.reference_points import segment_reference_points
from cmt_deeplab.criterion.semantic_loss import PanopticSemanticLoss

__all__ = [
    'PanopticCriterion', 'PanopticHungarianAssigner', 'PanopticInstanceDiscriminationLoss', 'PanopticMaskDiscriminationLoss',
    'PanopticMaskIDLoss', 'PanopticPQLoss', 'PanopticReferencePointLoss', 'PanopticSemanticLoss', 'plane_at_stride',
    'segment_reference_points'
]
