"""Converts a TensorFlow checkpoint of deeplab2: MaX-DeepLab, kMaX-DeepLab or an ImageNet backbone.

    python tools/model_converters/deeplab2_to_mmdet.py FOLDER/ckpt-150000 DST.pth \
        --config configs/kmax_deeplab/kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py

MaX-DeepLab is one of COCO, kMaX-DeepLab one of COCO or Cityscapes. SRC is TensorFlow's prefix,
which needs TensorFlow (pip install "cmt-deeplab[convert]"), or an .npz file of the same names.
DST is what `tools/test.py CONFIG DST` reads. A backbone is for
`model.backbone.init_cfg=dict(type='Pretrained', checkpoint='DST', prefix='backbone.')`, or for
`load_from='DST'` with MaX-DeepLab, whose last pretrained stage lies in our pixel decoder. Names of
SRC that are not used and names of the network that are not filled are printed.
"""

import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.converter import convert

if __name__ == '__main__':
    convert(__doc__, 'DEEPLAB2')
