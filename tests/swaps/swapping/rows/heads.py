"""Layers, predictors, semantic heads, norms and activations."""

from functools import partial

from ..row import Row
from .criterion import absent

row = partial(Row, 'Heads and layers')
norm = partial(Row, 'Norms')
activation = partial(Row, 'Activations')


def head(text: str) -> str:
    return f'\nmodel = dict(panoptic_head=dict({text}))\n'


def layer(text: str) -> str:
    return head(f'transformer_decoder=dict({text})')


KMAX = """layer=dict(
    _delete_=True, type='KMaXLayer', hidden_channels=96, heads=4, key_channels=48,
    value_channels=96, ffn_channels=256, drop_path=0.0)"""
MAX = KMAX.replace('KMaXLayer', 'MaXLayer')


def norms(text: str) -> str:
    return f"""
norm_cfg = dict({text})
model = dict(backbone=dict(norm_cfg=norm_cfg), panoptic_head=dict(norm_cfg=norm_cfg))
"""


def everywhere(text: str) -> str:
    return norms(text).replace('norm_cfg=norm_cfg', 'norm_cfg=dict(_delete_=True, **norm_cfg)')


ROWS = [
    row('KMaXLayer', layer(KMAX)),
    row('MaXLayer', layer(MAX)),
    row(
        'a layer of its own for each stage',
        layer("""layer=[
    dict(type='CMTLayer', hidden_channels=96, heads=4, key_channels=48, value_channels=96,
         ffn_channels=256),
    dict(type='KMaXLayer', hidden_channels=96, heads=4, key_channels=48, value_channels=96,
         ffn_channels=256)]"""),
    ),
    row(
        'another number of layers and centers',
        layer('layers_per_stage=(2, 1, 1), num_centers=32, center_channels=64'),
    ),
    row('deep_supervision=False', layer('deep_supervision=False'), learns=('backbone',)),
    row(
        'deep_supervision=False with KMaXLayer',
        layer(f'deep_supervision=False, {KMAX}'),
        refused='deep_supervision',
    ),
    row(
        'more stages with layers than there are',
        layer('layers_per_stage=(1, 1, 1, 1)'),
        refused='layers_per_stage',
    ),
    row(
        'a number of heads that does not divide',
        head('transformer_decoder=dict(layer=dict(heads=5))'),
        refused='heads',
    ),
    row(
        'the layer of Mask2Former',
        layer("""layer=dict(
    _delete_=True, type='Mask2FormerTransformerDecoder', num_layers=1)"""),
        refused='transformer_decoder.layer',
    ),
    row(
        'CMTPredictor of other widths',
        head('predictor=dict(hidden_channels=48, feature_channels=32, mask_gamma=0.5)'),
    ),
    row(
        'no semantic head',
        """
model = dict(panoptic_head=dict(semantic_head=None), criterion=dict(losses=dict(semantic=None)))
""",
    ),
    row(
        'no semantic head, but its loss (a warning says so)',
        head('semantic_head=None'),
        shows=(absent('loss_semantic'),),
    ),
    row(
        'a semantic head without ASPP',
        head('semantic_head=dict(rates=None, fuse=(), fuse_channels=())'),
    ),
    row(
        'a semantic head that fuses no level',
        head('semantic_head=dict(fuse=(5,), fuse_channels=(32,))'),
        refused='semantic_head',
    ),
    row(
        'the semantic head of Panoptic FPN',
        head("""semantic_head=dict(
    _delete_=True, type='PanopticFPNHead', num_things_classes=6, num_stuff_classes=5,
    in_channels=128, inner_channels=64)"""),
        refused='semantic_head',
    ),
    row(
        'the head of Mask2Former',
        """
model = dict(panoptic_head=dict(_delete_=True, type='Mask2FormerHead'))
""",
        refused='panoptic_head',
    ),
    row('class counts of the head', head('num_classes=80'), refused='num_classes'),
    row(
        'widths given to a part that reads them off',
        head('pixel_decoder=dict(in_channels=[256, 512, 1024])'),
        refused='in_channels',
    ),
    row(
        'CMTDeepLabRFN',
        """
model = dict(type='CMTDeepLabRFN', feedback={'layer1.0': 2, 'layer2.0': 1})
""",
        learns=('backbone', 'panoptic_head', 'first_pass', 'feedback'),
    ),
    row('seed_per_image', '\nmodel = dict(seed_per_image=3)\n'),
    # norms
    norm(
        'PanopticSyncBN with other numbers', norms("type='PanopticSyncBN', eps=1e-5, momentum=0.1")
    ),
    norm('BN', norms("type='BN', eps=1e-5, momentum=0.1")),
    norm('BN that is not trained', norms("type='BN', requires_grad=False"), learns=(), shows=()),
    norm('SyncBN, in one process on a CPU', norms("type='SyncBN'"), changes='nothing'),
    norm('MMSyncBN', norms("type='MMSyncBN'"), refused='MMSyncBN'),
    norm('GN', everywhere("type='GN', num_groups=8")),
    norm(
        "GN in place of the base's norm, without _delete_",
        norms("type='GN', num_groups=8"),
        refused='_delete_',
    ),
    norm('PanopticLayerNorm', everywhere("type='PanopticLayerNorm', eps=1e-6")),
    norm('LN', everywhere("type='LN'"), refused='PanopticLayerNorm'),
    norm('IN', everywhere("type='IN'")),
    norm(
        'BN in the head alone',
        """
model = dict(panoptic_head=dict(norm_cfg=dict(type='BN')))
""",
        changes='nothing',
    ),
    norm(
        'GN in the pixel decoder alone',
        """
model = dict(panoptic_head=dict(pixel_decoder=dict(norm_cfg=dict(type='GN', num_groups=8))))
""",
    ),
    norm('a name that does not exist', norms("type='BatchNorm'"), refused='BatchNorm'),
    norm(
        'a class in place of a name',
        """
from torch.nn import BatchNorm2d
model = dict(panoptic_head=dict(norm_cfg=dict(_delete_=True, type=BatchNorm2d)))
""",
    ),
    norm(
        'frozen PanopticSyncBN in the backbone',
        """
model = dict(backbone=dict(norm_cfg=dict(frozen=True)))
""",
        learns=('panoptic_head',),
    ),
    *[
        activation(kind, head(f'act_cfg=dict(type={kind!r})'))
        for kind in (
            'ReLU',
            'LeakyReLU',
            'PReLU',
            'RReLU',
            'ReLU6',
            'ELU',
            'Sigmoid',
            'Tanh',
            'SiLU',
            'Swish',
            'HSwish',
            'HSigmoid',
            'Clamp',
        )
    ],
    activation('a name that does not exist', head("act_cfg=dict(type='Gelu')"), refused='Gelu'),
    activation(
        'a class in place of a name',
        """
from torch.nn import SiLU
model = dict(panoptic_head=dict(act_cfg=dict(type=SiLU)))
""",
    ),
    activation(
        'ReLU in the pixel decoder alone', head("pixel_decoder=dict(act_cfg=dict(type='ReLU'))")
    ),
]
