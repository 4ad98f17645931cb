"""Converts a TensorFlow checkpoint of deeplab2: MaX-DeepLab, kMaX-DeepLab (COCO), or their backbones pretrained on ImageNet.

    python tools/model_converters/deeplab2_to_mmdet.py FOLDER/ckpt-150000 DST.pth --config configs/kmax_deeplab/kmax-deeplab_r50-tf_...py

SRC is TensorFlow's prefix, which needs TensorFlow (pip install "cmt-deeplab[convert]"), or an .npz file of the same names and arrays, made
elsewhere. DST is what `tools/test.py CONFIG DST` reads; a backbone is for
`model.backbone.init_cfg=dict(type='Pretrained', checkpoint='DST', prefix='backbone.')`, or, with MaX-DeepLab, whose last pretrained stage
lies in our pixel decoder, for `load_from='DST'`. Names of SRC that are not used and names of the network that are not filled are printed.
"""

import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2] / 'projects')
)  # a clone that is not installed

import cmt_deeplab  # noqa: E402,F401  isort: skip  # first: without compiled operators mmdet can only be imported after it
from cmt_deeplab.converters import deeplab2_table, read_deeplab2  # noqa: E402
from cmt_deeplab.converters.command_line import run  # noqa: E402

if __name__ == '__main__':
    run(__doc__, read=read_deeplab2, table=deeplab2_table)
