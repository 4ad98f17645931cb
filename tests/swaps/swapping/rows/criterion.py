"""Assigners, matching costs, losses, merges and metrics."""

from functools import partial

from ..row import Row, says

assigner = partial(Row, 'Assigners and matching costs')
loss = partial(Row, 'Losses')
merge = partial(Row, 'Merges', changes='map')
metric = partial(Row, 'Metrics', changes='metrics')


def criterion(text: str) -> str:
    return f'\nmodel = dict(criterion=dict({text}))\n'


def costs(*entries: str) -> str:
    lines = ',\n        '.join(entries)
    return criterion(f"""
    assigner=dict(type='HungarianAssigner', match_costs=[
        {lines}])""")


def losses(text: str) -> str:
    return criterion(f'losses=dict({text})')


def another(name: str):
    """The loss logs a term of this name that is not zero."""

    @says(f'the term {name} is not zero')
    def check(seen, base) -> str | None:
        values = [it.get(name) for it in seen.losses]
        return None if all(values) else f'the term {name} is {values}'

    return check


def absent(name: str):
    """No term has this name."""

    @says(f'no term {name}')
    def check(seen, base) -> str | None:
        return f'there is still {name}' if any(name in it for it in seen.losses) else None

    return check


def scaled(name: str, factor: float):
    """In the first iteration the term is that of the base times a factor."""

    @says(f'{name} is {factor:.3g} times that of the base in the first iteration')
    def check(seen, base) -> str | None:
        one, other = seen.losses[0][name], base['losses'][0][name]
        same = abs(one - factor * other) <= 1e-4 * abs(one)
        return None if same else f'{name} is {one}, that of the base {other}'

    return check


@says('the same metrics as those of the base, with equal values')
def equal_metrics(seen, base) -> str | None:
    both = seen.metrics.keys() & base['metrics'].keys()
    unequal = [k for k in both if abs(seen.metrics[k] - base['metrics'][k]) > 0.01]
    return f'{unequal} differ from the base' if unequal or not both else None


def logs(*names: str):
    """The metrics have these names."""

    @says(f'metrics {", ".join(names)}')
    def check(seen, base) -> str | None:
        missing = [name for name in names if name not in seen.metrics]
        return f'the metrics lack {missing}: {sorted(seen.metrics)}' if missing else None

    return check


CLASS = "dict(type='ClassificationCost', weight=2.0)"
MASK = "dict(type='CrossEntropyLossCost', weight=5.0, use_sigmoid=True)"
DICE = "dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0)"
DICE_LOSS = """dice=dict(type='DiceLoss', use_sigmoid=True, activate=True, reduction='mean',
              naive_dice=True, eps=1.0, loss_weight=5.0)"""
FOCAL = "dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=20.0)"
FOCAL_LOSS = f"""focal=dict(
            type='PanopticMaskLoss',
            loss={FOCAL})"""
MASK_LOSS = """mask=dict(type='CrossEntropyLoss', use_sigmoid=True, reduction='mean',
              loss_weight=5.0)"""
CLASS_LOSS = """cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0,
             class_weight=[1.0] * 11 + [0.1])"""
ROWS = [
    assigner('HungarianAssigner with the costs of Mask2Former', costs(CLASS, MASK, DICE)),
    assigner(
        'HungarianAssigner with the costs of MaskFormer',
        costs(
            "dict(type='ClassificationCost', weight=1.0)",
            "dict(type='FocalLossCost', weight=20.0, binary_input=True)",
            "dict(type='DiceCost', weight=1.0, pred_act=True, eps=1.0)",
        ),
    ),
    assigner(
        'HungarianAssigner with one cost',
        criterion(f"""
    assigner=dict(type='HungarianAssigner', match_costs={DICE})"""),
    ),
    assigner(
        'HungarianAssigner with DiceCost of squared masks',
        costs(CLASS, "dict(type='DiceCost', weight=5.0, pred_act=True, naive_dice=False)"),
    ),
    assigner(
        'HungarianAssigner with a cost of boxes',
        costs(CLASS, "dict(type='BBoxL1Cost', weight=5.0)"),
        refused='BBoxL1Cost',
    ),
    assigner(
        'HungarianAssigner with IoUCost',
        costs(CLASS, "dict(type='IoUCost', iou_mode='giou')"),
        refused='IoUCost',
    ),
    assigner(
        'HungarianAssigner without costs',
        criterion("assigner=dict(type='HungarianAssigner')"),
        refused='match_costs',
    ),
    assigner(
        'PanopticHungarianAssigner with other exponents',
        criterion("assigner=dict(type='PanopticHungarianAssigner', dice_exponent=0.0)"),
    ),
    assigner(
        'MaxIoUAssigner',
        criterion("""
    assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5)"""),
        refused='assigner',
    ),
    assigner(
        'SimOTAAssigner', criterion("assigner=dict(type='SimOTAAssigner')"), refused='assigner'
    ),
    assigner(
        'TopkHungarianAssigner',
        criterion("assigner=dict(type='TopkHungarianAssigner')"),
        refused='assigner',
    ),
    assigner('a matching for each stage', criterion('share_final_match=False')),
    assigner('resize_to_final', criterion('resize_to_final=True')),
    assigner(
        'a key that the assigner does not have',
        criterion("assigner=dict(type='PanopticHungarianAssigner', weight=2.0)"),
        refused='weight',
    ),
    loss(
        'one weight',
        losses('pq=dict(loss_weight=12.0)'),
        shows=(scaled('loss_pq_mask', 2.0), scaled('loss_mask_id', 1.0)),
    ),
    loss('a weight of 0', losses('discrimination=dict(loss_weight=0.0)')),
    loss(
        'a loss switched off', losses('discrimination=None'), shows=(absent('loss_discrimination'),)
    ),
    loss(
        'two losses switched off',
        losses('mask_id=None, reference_points=None'),
        shows=(absent('loss_mask_id'), absent('loss_reference')),
        unused=('location', 'reference'),
    ),
    loss(
        'all losses switched off',
        losses('pq=None, mask_id=None, discrimination=None, semantic=None, reference_points=None'),
        refused='losses',
    ),
    loss(
        'deep_supervision_weight',
        criterion('deep_supervision_weight=1.0'),
        shows=(scaled('loss_pq_mask', 1.0), scaled('s0.loss_pq_mask', 1 / 0.3)),
    ),
    loss(
        'PanopticMaskDiscriminationLoss',
        losses("""
    discrimination=dict(_delete_=True, type='PanopticMaskDiscriminationLoss', loss_weight=1.0)"""),
    ),
    loss('PanopticPQLoss with void_share', losses("pq=dict(unmatched_weight='void_share')")),
    loss(
        'PanopticSemanticLoss of all pixels',
        losses('semantic=dict(num_samples=None, hardest_share=0.2, small_instance_weight=3.0)'),
    ),
    loss('DiceLoss besides', losses(DICE_LOSS), shows=(another('loss_dice'),)),
    loss('FocalLoss of masks besides', losses(FOCAL_LOSS), shows=(another('loss_focal'),)),
    loss(
        'FocalLoss of classes besides',
        losses(FOCAL_LOSS.replace('PanopticMaskLoss', 'PanopticClassLoss')),
        shows=(another('loss_focal'),),
    ),
    loss('FocalLoss without saying of what', losses(f'focal={FOCAL}'), refused='PanopticMaskLoss'),
    loss('CrossEntropyLoss of masks besides', losses(MASK_LOSS), shows=(another('loss_mask'),)),
    loss('CrossEntropyLoss of classes besides', losses(CLASS_LOSS), shows=(another('loss_cls'),)),
    loss(
        'the criterion of Mask2Former',
        criterion(f"""
    assigner=dict(type='HungarianAssigner', match_costs=[
        {CLASS},
        {MASK},
        {DICE}]),
    losses=dict(
        _delete_=True,
        {CLASS_LOSS},
        {MASK_LOSS},
        {DICE_LOSS})"""),
        shows=(
            another('loss_cls'),
            another('loss_mask'),
            another('loss_dice'),
            absent('loss_pq_mask'),
        ),
        unused=('location', 'reference', 'semantic_head'),
    ),
    loss(
        'the criterion of MaskFormer',
        criterion(f"""
    assigner=dict(type='HungarianAssigner', match_costs=[
        dict(type='ClassificationCost', weight=1.0),
        dict(type='FocalLossCost', weight=20.0, binary_input=True),
        dict(type='DiceCost', weight=1.0, pred_act=True, eps=1.0)]),
    losses=dict(
        _delete_=True,
        {CLASS_LOSS},
        {FOCAL_LOSS},
        {DICE_LOSS})"""),
        shows=(another('loss_cls'), another('loss_focal'), another('loss_dice')),
        unused=('location', 'reference', 'semantic_head'),
    ),
    loss(
        'DiceLoss in place of the PQ-style loss',
        losses(DICE_LOSS.replace('dice=dict(', 'pq=dict(_delete_=True, ')),
        shows=(another('loss_pq'),),
        unused=('class_head', 'class_projection'),
    ),
    loss(
        'DiceLoss without _delete_',
        losses("pq=dict(type='DiceLoss', use_sigmoid=True)"),
        shows=(another('loss_pq'),),
        unused=('class_head', 'class_projection'),
    ),
    loss('L1Loss', losses("l1=dict(type='L1Loss')"), refused='L1Loss'),
    loss('GIoULoss', losses("box=dict(type='GIoULoss')"), refused='GIoULoss'),
    loss('SeesawLoss', losses("cls=dict(type='SeesawLoss', num_classes=11)"), refused='SeesawLoss'),
    loss(
        'class_weight of another length',
        losses("cls=dict(type='CrossEntropyLoss', class_weight=[1.0] * 80)"),
        refused='class_weight',
    ),
    loss('a loss without a type', losses('extra=dict(loss_weight=5.0)'), refused='type'),
    loss(
        'a list in place of the dict', criterion('losses=[dict(loss_weight=5)]'), refused='losses'
    ),
    loss('a key that the loss does not have', losses('pq=dict(alpha=0.5)'), refused='alpha'),
    loss(
        'the criterion of another kind',
        """
model = dict(criterion=dict(_delete_=True, type='CrossEntropyLoss'))
""",
        refused='criterion',
    ),
    merge(
        'other thresholds',
        """
model = dict(postprocess=dict(pixel_threshold=0.08, overlap_threshold=0.5))
""",
    ),
    merge(
        'two_step_resize and score_at_stride',
        """
model = dict(postprocess=dict(
    two_step_resize=True, score_at_stride=True, strict_class_threshold=True,
    mask_weight=4.0))
""",
    ),
    merge(
        'PanopticPixelWiseMerge',
        """
model = dict(postprocess=dict(
    _delete_=True, type='PanopticPixelWiseMerge', pixel_threshold=0.06, class_threshold=0.0,
    thing_area=0, stuff_area=0))
""",
    ),
    merge(
        'PanopticPixelWiseMerge without _delete_',
        """
model = dict(postprocess=dict(type='PanopticPixelWiseMerge'))
""",
        refused='_delete_',
    ),
    merge(
        'MaskFormerFusionHead',
        """
model = dict(postprocess=dict(
    _delete_=True, type='MaskFormerFusionHead', num_things_classes=6, num_stuff_classes=5))
""",
        refused='postprocess',
    ),
    merge(
        'HeuristicFusionHead',
        """
model = dict(postprocess=dict(
    _delete_=True, type='HeuristicFusionHead', num_things_classes=6, num_stuff_classes=5))
""",
        refused='postprocess',
    ),
    metric(
        'CocoPanopticMetric',
        """
val_evaluator = dict(
    _delete_=True, type='CocoPanopticMetric',
    ann_file='data/shapes/annotations/panoptic_val2017.json',
    seg_prefix='data/shapes/annotations/panoptic_val2017/')
test_evaluator = val_evaluator
""",
        changes='',
        shows=(equal_metrics,),
    ),
    metric(
        "ours and mmdet's",
        """
val_evaluator = [
    dict(
        type='PanopticQualityMetric',
        ann_file='data/shapes/annotations/panoptic_val2017.json',
        seg_prefix='data/shapes/annotations/panoptic_val2017/',
        prefix='ours'),
    dict(
        type='CocoPanopticMetric',
        ann_file='data/shapes/annotations/panoptic_val2017.json',
        seg_prefix='data/shapes/annotations/panoptic_val2017/',
        prefix='theirs')]
test_evaluator = val_evaluator
""",
        shows=(logs('ours/PQ', 'theirs/PQ'),),
    ),
    metric(
        'PanopticQualityMetric per class',
        """
val_evaluator = dict(classwise=True)
""",
        changes='',
    ),
    metric(
        'CocoMetric',
        """
val_evaluator = dict(_delete_=True, type='CocoMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator
""",
        refused='CocoMetric',
    ),
    metric(
        'SemSegMetric',
        """
val_evaluator = dict(_delete_=True, type='SemSegMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
""",
        refused='SemSegMetric',
    ),
    metric(
        'an annotation file that does not exist',
        """
val_evaluator = dict(ann_file='data/shapes/annotations/panoptic_val.json')
""",
        refused='panoptic_val.json',
    ),
]
