"""CMT-DeepLab with Axial-R104 applied twice: the second backbone hears the first pass's features of its own strides 4, 8 and 16.

271.7 M parameters and 1101 GMACs at 1200x800; published are 270 M and 1114 G, recalled.
"""
_base_ = './cmt-deeplab_axial-r104.py'
model = dict(type='CMTDeepLabRFN', feedback=dict(stage2=7, stage3=6, stage4=5))
