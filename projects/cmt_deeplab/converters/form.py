"""Which of its two public forms, PyTorch or TensorFlow, a kMaX-DeepLab is in (configs/_base_/models/kmax-deeplab_r50.py)."""

from torch import nn

from cmt_deeplab.models.blocks.residual_blocks import BottleneckBlock


def bottleneck_dilations(decoder: nn.Module) -> set[int]:
    """Dilations of the 3x3 convolutions in the bottleneck blocks: 1 in the PyTorch code, 2 in TensorFlow's."""
    return {
        block.middle.conv.dilation[0]
        for block in decoder.modules()
        if isinstance(block, BottleneckBlock)
    }
