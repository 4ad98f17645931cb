"""The slots of a model: what each needs of a part, and which parts fit.

A slot is a key of the config into which a part goes: ``model.backbone`` for example. The config
names the type of the part and its arguments; the code gives further arguments that follow from
the rest of the model, such as the widths of the features. ``docs/parts.md`` is for users.
"""

from dataclasses import dataclass

from mmdet.registry import MODELS, TASK_UTILS
from mmengine.registry import Registry


@dataclass(frozen=True)
class Slot:
    """What one slot needs of a part.

    Attributes:
        what: the part in two words, with its article.
        offers: attributes, and methods with the arguments of the call that the code makes;
            those behind ``*`` are given by keyword.
        fits: the parts that fit, in plain words.
        may_lack: arguments of the code that a part need not take.
    """

    what: str
    offers: tuple[str, ...]
    fits: str
    may_lack: frozenset[str] = frozenset()
    registry: Registry = MODELS


STYLE = frozenset({'norm_cfg', 'act_cfg', 'align_corners', 'in_strides'})
HEAD, DECODER = 'model.panoptic_head', 'model.panoptic_head.transformer_decoder'
SLOTS = {
    'model.backbone': Slot(
        'a backbone',
        ('forward(images)',),
        'PanopticResNet, AxialResNet, MaXWideResNet, PanopticSwinTransformer, TimmBackbone, '
        "TimmViT and the backbones of mmdet, such as 'mmdet.ResNet'",
        frozenset({'with_cp'}),
    ),
    'model.neck': Slot(
        'a neck',
        ('forward(maps)',),
        'the necks of mmdet, such as FPN, and its pixel decoders',
        STYLE,
    ),
    'model.data_preprocessor': Slot(
        'a data preprocessor',
        ('forward(data, training)',),
        'PanopticDataPreprocessor',
        frozenset({'num_things_classes', 'num_stuff_classes'}),
    ),
    HEAD: Slot(
        'a panoptic head',
        ('forward(features, *, features_only)', 'pixel_decoder'),
        'CMTPanopticHead',
        frozenset({'in_strides', 'with_cp'}),
    ),
    f'{HEAD}.pixel_decoder': Slot(
        'a pixel decoder',
        ('out_channels', 'skips(features)', 'stage(i, previous, skip)'),
        'AxialPixelDecoder, MaXPixelDecoder, and the pixel decoders and necks of mmdet, such as '
        'MSDeformAttnPixelDecoder and FPN',
        STYLE,
    ),
    DECODER: Slot(
        'a transformer decoder',
        ('forward(features, pixel_decoder, *, features_only)',),
        'CMTTransformerDecoder',
        STYLE,
    ),
    f'{DECODER}.layer': Slot(
        'a layer of the transformer decoder',
        ('forward(pixels, centers, logits, *, predict)',),
        'CMTLayer, MaXLayer, KMaXLayer and subclasses of TransformerLayer',
        STYLE,
    ),
    f'{HEAD}.predictor': Slot(
        'a predictor', ('forward(pixels, centers, reference_points)',), 'CMTPredictor', STYLE
    ),
    f'{HEAD}.semantic_head': Slot(
        'a semantic head', ('forward(features)',), 'PanopticSemanticHead', STYLE
    ),
    'model.criterion': Slot(
        'a criterion',
        ('forward(predictions, targets, *, semantic_logits, generator)',),
        'PanopticCriterion',
        frozenset({'num_things_classes'}),
    ),
    'model.criterion.assigner': Slot(
        'an assigner',
        ('__call__(prediction, targets)',),
        "PanopticHungarianAssigner and mmdet's HungarianAssigner",
        registry=TASK_UTILS,
    ),
    'model.criterion.assigner.match_costs': Slot(
        'a matching cost',
        ('__call__(pred_instances, gt_instances)',),
        "mmdet's ClassificationCost, FocalLossCost, DiceCost and CrossEntropyLossCost",
        registry=TASK_UTILS,
    ),
    'model.criterion.losses': Slot(
        'a loss',
        ('forward(prediction, targets, match, generator)', 'reads_semantic_logits'),
        'PanopticPQLoss, PanopticMaskIDLoss, PanopticInstanceDiscriminationLoss, '
        'PanopticMaskDiscriminationLoss, PanopticSemanticLoss, PanopticReferencePointLoss, other '
        'subclasses of PanopticLoss, and through PanopticMaskLoss and PanopticClassLoss '
        "mmdet's DiceLoss, CrossEntropyLoss and FocalLoss",
    ),
    'PanopticMaskLoss.loss': Slot(
        'a loss of masks',
        ('forward(pred, target)',),
        "mmdet's DiceLoss, FocalLoss and, with use_sigmoid=True, CrossEntropyLoss",
    ),
    'PanopticClassLoss.loss': Slot(
        'a loss of classes',
        ('forward(pred, label, *, weight, avg_factor)',),
        "mmdet's CrossEntropyLoss and FocalLoss",
    ),
    'model.postprocess': Slot(
        'a merge',
        (
            'forward(mask_logits, class_logits, *, input_size, image_size, output_size, '
            'align_corners)',
        ),
        'PanopticMaskWiseMerge and PanopticPixelWiseMerge',
    ),
}

# Arguments that the code gives and where their values stand. A part of the config may have its
# own norm, activation and with_cp; all other values are those of the whole model.
OF_THE_PART = ('norm_cfg', 'act_cfg', 'with_cp')
ORIGIN = {
    'in_channels': 'the widths of the features that come in',
    'in_strides': 'the strides of the features that come in',
    'pixel_channels': 'the widths of the stages of the pixel decoder',
    'center_channels': f'set once, in {DECODER}.center_channels',
    'num_classes': 'set once, by model.num_things_classes and model.num_stuff_classes',
    'num_things_classes': 'set once, in model.num_things_classes',
    'num_stuff_classes': 'set once, in model.num_stuff_classes',
    'align_corners': 'set once, in model.align_corners',
    'predictor': f'set once, in {HEAD}.predictor',
    'project_centers': 'given by the decoder and its layers',
}
