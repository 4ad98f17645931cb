"""CMT-DeepLab with Axial-R104: Axial-R50 with 24 blocks in stage 4 in place of 6.

The 24 are inferred from the published sizes (docs/design.md). 134.8 M parameters and 547 GMACs at
1200x800; published are 135 M and 553 G, both recalled.
"""

_base_ = './cmt-deeplab_axial-r50.py'
model = dict(backbone=dict(num_blocks=(3, 4, 24, 3)))
