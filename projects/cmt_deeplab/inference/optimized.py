"""A faster form of a model that only predicts, with the same outputs but for rounding."""

from copy import deepcopy
from itertools import pairwise

import torch
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import ConvNorm
from cmt_deeplab.models.blocks.norm import PanopticSyncBN

LEVELS = ('none', 'fold', 'compile')
# Their forward applies a convolution and the norm behind it in the order of the attributes.
IN_ORDER = (nn.Sequential, ConvNorm, BasicBlock, Bottleneck, ResNet)
BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, PanopticSyncBN)  # timm's activate, too


class OneDNNConv2d(nn.Conv2d):
    """A convolution by oneDNN on a CPU, also where torch would take slower kernels of its own.

    With one thread it does so for all 1x1 convolutions.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.device.type != 'cpu' or x.dtype != torch.float32 or torch.compiler.is_compiling():
            return super()._conv_forward(x, weight, bias)
        return torch.mkldnn_convolution(
            x, weight, bias, self.padding, self.stride, self.dilation, self.groups
        )


def check_level(level: str) -> None:
    """Raise a :class:`UserError` unless :func:`optimize` has such a level."""
    if level not in LEVELS:
        raise UserError(f'optimize is {level!r}: give one of {", ".join(LEVELS)}.')


def optimize(model: nn.Module, level: str = 'fold') -> None:
    """Make the predictions of a model faster; it can then be neither trained nor saved.

    The level 'none' changes nothing. With 'fold', batch norms become part of the convolutions
    before them, weights and maps are channels-last, and convolutions on a CPU are those of oneDNN.
    'compile' also has ``torch.compile`` make one program of the network, at its first image.

    Raises:
        UserError: there is no such level, or the model cannot be compiled.
    """
    check_level(level)
    if level == 'none':
        return
    model.eval().requires_grad_(False)
    for parent in [*model.modules()]:
        if any(type(parent).forward is kind.forward for kind in IN_ORDER):
            _fold(parent)
    for module in model.modules():
        plain = type(module) is nn.Conv2d and module.padding_mode == 'zeros'
        if plain and not isinstance(module.padding, str) and torch.backends.mkldnn.is_available():
            module.__class__ = OneDNNConv2d  # nothing but the kernel differs
    model.to(memory_format=torch.channels_last)
    if level == 'compile':
        if not hasattr(model, 'network'):
            raise UserError(
                f"optimize='compile' is for the models of this package, and this is a "
                f"{type(model).__name__}: give 'fold'."
            )
        try:  # with anything, so that a compiler that is missing is told of here
            torch.compile(torch.neg)(next(model.parameters()))
        except Exception as error:  # of many kinds
            reason = ' '.join(f'{error}'.split())[:200]
            raise UserError(
                f"torch.compile does not work here ({reason}): give optimize='fold'."
            ) from error
        model.network = torch.compile(model.network)


def _fold(parent: nn.Module) -> None:
    """Fold batch norms into convolutions among the children of a module of ``IN_ORDER``."""
    # not named_children, which leaves out a module that comes again, such as a shared activation
    for (name, conv), (norm_name, norm) in pairwise([*parent._modules.items()]):
        found = type(conv) is nn.Conv2d and type(norm) in BATCH_NORMS
        if found and norm.running_mean is not None:
            setattr(parent, name, fuse_conv_bn_eval(conv, norm))
            setattr(parent, norm_name, nn.Identity())


class OptimizedTestHook(Hook):
    """Tests a copy of the model that :func:`optimize` has made faster."""

    priority = 'LOWEST'  # the averages of mmengine's EMAHook are in the model by then

    def __init__(self, level: str) -> None:
        self.level = level

    def before_test_epoch(self, runner: Runner) -> None:
        self.model = runner.model
        model = self.model.module if is_model_wrapper(self.model) else self.model
        runner.model = deepcopy(model)
        optimize(getattr(runner.model, 'module', runner.model), self.level)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        runner.model = self.model
