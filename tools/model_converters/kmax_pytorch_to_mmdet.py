"""Converts a checkpoint of the PyTorch code of kMaX-DeepLab (bytedance/kmax-deeplab), for COCO.

    python tools/model_converters/kmax_pytorch_to_mmdet.py SRC.pth DST.pth --config configs/kmax_deeplab/kmax-deeplab_r50_8xb8-...py

DST is what `tools/test.py CONFIG DST` reads; one of a ResNet or ConvNeXt alone, or of another detector's config, is for
`model.backbone.init_cfg=dict(type='Pretrained', checkpoint='DST', prefix='backbone.')`. Names of SRC that are not used and names of the
network that are not filled are printed.
"""

import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2] / 'projects')
)  # a clone that is not installed

import cmt_deeplab  # noqa: E402,F401  isort: skip  # first: without compiled operators mmdet can only be imported after it
from cmt_deeplab.converters import kmax_pytorch_table, read_pytorch  # noqa: E402
from cmt_deeplab.converters.command_line import run  # noqa: E402

if __name__ == '__main__':
    run(__doc__, read=read_pytorch, table=kmax_pytorch_table)
