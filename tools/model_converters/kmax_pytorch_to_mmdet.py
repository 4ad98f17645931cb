"""Converts a checkpoint of bytedance/kmax-deeplab, the PyTorch code of kMaX-DeepLab.

    python tools/model_converters/kmax_pytorch_to_mmdet.py SRC.pth DST.pth \
        --config configs/kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py

SRC is one of COCO or Cityscapes. DST is what `tools/test.py CONFIG DST` reads; one of a ResNet or
ConvNeXt alone, or of another detector's config, is for
`model.backbone.init_cfg=dict(type='Pretrained', checkpoint='DST', prefix='backbone.')`. Names of
SRC that are not used and names of the network that are not filled are printed.
"""

import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.converter import convert

if __name__ == '__main__':
    convert(__doc__, 'KMAX_PYTORCH')
