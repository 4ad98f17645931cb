"""One image beside mmdet's Mask2Former and MaskFormer, all with ResNet-50, merge included.

The weights are random, so that no class would be certain: the merges get made-up classes, by which
twenty centers are segments and the others void. The instance branch of Mask2Former is off. Ours
have their batch norms folded, as `cmt-deeplab predict` does; mmdet's inference folds none.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from cmt_deeplab.inference.optimized import optimize
from harness import Subject
from merge import confident_classes
from mmdet.structures import DetDataSample
from models import OURS, PEERS, SIZE, models
from torch import Tensor, nn

SEGMENTS = 20


def make_certain(network: nn.Module) -> None:
    """Let the merge of a model see made-up classes in place of its own."""

    def replaced(classes: Tensor) -> Tensor:
        number, channels = classes.shape[-2:]
        return confident_classes(number, min(SEGMENTS, number), channels - 1).expand_as(classes)

    if hasattr(network, 'panoptic_fusion_head'):
        head = network.panoptic_fusion_head
        head.test_cfg.instance_on = False
        fuse = head.predict
        head.predict = lambda classes, *rest, **options: fuse(replaced(classes), *rest, **options)
        return
    network.postprocess.register_forward_pre_hook(
        lambda module, inputs: (inputs[0], replaced(inputs[1]), *inputs[2:])
    )


def predicting(network: nn.Module, image: Tensor) -> Callable[[int], Callable[[], Any]]:
    """The form that predicts one image (3, H, W)."""
    size = tuple(image.shape[1:])
    sample = DetDataSample(
        metainfo=dict(
            img_id=0, img_path='', img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)
        )
    )

    def form(run: int) -> Callable[[], Any]:
        return lambda: network.test_step(dict(inputs=[image], data_samples=[sample]))

    return form


def subjects(args: argparse.Namespace, *, side: int = SIZE) -> Iterator[Subject]:
    image = torch.randint(256, (3, side, side), dtype=torch.uint8)
    forms = {}
    for model in models():
        if model.name in OURS:
            optimize(model.network)
        make_certain(model.network.eval())
        forms[model.name] = predicting(model.network, image)
    yield Subject(forms, title=f'predict, {side}x{side}', peers=[*PEERS], runs=7, with_memory=True)
