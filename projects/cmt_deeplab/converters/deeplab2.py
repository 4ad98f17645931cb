"""Which parts of a network a checkpoint of google-research/deeplab2 can fill.

The mask classifier has our order of classes: things, stuff, void. The semantic logits have void
first on COCO; on Cityscapes they are in the order of train ids and have no void.
"""

from torch import Tensor, nn

from cmt_deeplab.models.backbones import MaXWideResNet
from cmt_deeplab.models.pixel_decoders import MaXPixelDecoder
from cmt_deeplab.models.transformer import KMaXLayer, MaXLayer

from . import deeplab2_names as names
from .class_order import CITYSCAPES, COCO, from_train_ids
from .form import Form
from .read import read_deeplab2
from .table import CodeBase, layer_rows

FORM = Form(max_pool=False, pre_activation=True, dilation=2, config='kmax-deeplab_r50-tf.py')


def other_rows(model: nn.Module) -> dict[str, str]:
    """The rows of a detector's parts but the backbone and the pixel decoder of kMaX-DeepLab."""
    pixel_decoder = model.panoptic_head.pixel_decoder
    decoder = model.panoptic_head.transformer_decoder
    layers = {type(layer) for stage in decoder.stages for layer in stage}
    rows = {}
    if layers == {KMaXLayer}:
        rows['transformer decoder'] = names.KMAX_DECODER + layer_rows(decoder, names.KMAX_LAYERS)
    if isinstance(pixel_decoder, MaXPixelDecoder):
        large = isinstance(model.backbone, MaXWideResNet)
        number, table = names.MAX_L_STAGES if large else names.MAX_S_STAGES
        groups = [row.split() for row in table.strip().splitlines()]
        stages = [_max_stage(pixel_decoder.strides, i, *at) for i, at in enumerate(groups)]
        rows['pretrained stages of the pixel decoder'] = '\n'.join(stages[:number])
        rows['other stages of the pixel decoder'] = '\n'.join(stages[number:])
        if layers == {MaXLayer}:
            rows['transformer decoder'] = names.MAX_DECODER + '\n'.join(
                f'stages.{i}.0. encoder/{group}/_block{block}_transformer max_layer'
                for i, (group, block) in enumerate(groups)
            )
    rows['semantic head'] = names.SEMANTIC_HEAD
    return rows


def _max_stage(strides: list[int], i: int, group: str, block: str) -> str:
    """Rows of a stage of MaX-DeepLab's pixel decoder, and of the fuse before it."""
    fuse = f'encoder/{group}_resized_fuse'
    kind = 'strided' if i > 0 and strides[i] > strides[i - 1] else 'resized'
    return f"""
        blocks.{i}.{{j}}.               encoder/{group}/_block{{j+{block}}}      block
        fuses.{i - 1}.previous.         {fuse}/_{kind}_conv_bn1                 conv_norm
        fuses.{i - 1}.kept.{{k}}.1.     {fuse}/_resized_conv_bn{{k+2}}          conv_norm
    """


def arrange(name: str, value: Tensor) -> Tensor | None:
    """A tensor in our order of axes and classes; None where the order of the classes is unknown."""
    if name.endswith('transformer_decoder.centers'):
        return value.transpose(1, 2)  # (1, N, D)
    if '.semantic_head.classify.' not in name:
        return value
    if len(value) == COCO + 1:
        return value.roll(-1, dims=0)
    return from_train_ids(value) if len(value) == CITYSCAPES else None


DEEPLAB2 = CodeBase(read_deeplab2, names.TABLES, other_rows, FORM, arrange)
