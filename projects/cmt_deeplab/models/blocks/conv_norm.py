"""Convolution, norm, activation: the block that every part is made of."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mmengine.dist import get_world_size
from torch import Tensor, nn

from .module_config import registered_class, tried_out
from .norm import PanopticSyncBN, build_norm, contiguous_grad, normalize, over_processes
from .recompute import keeping_recipe, remember

OF_INPUT = (nn.GELU, nn.SiLU)  # activations whose gradient reads their input, not their output
ACTIVATIONS = "one of mmcv's activations, such as ReLU, GELU and SiLU, or a class of torch.nn"


def build_activation(act_cfg: dict | None) -> nn.Module:
    """The activation of ``act_cfg``, whose type is a registered name or a class.

    None gives the identity. It never works in place: residual inputs are activated too, and their
    sum needs them intact.

    Raises:
        UserError: the type is not known, or it does not keep the shape of maps.
    """
    if act_cfg is None:
        return nn.Identity()
    activation_class = registered_class('act_cfg', act_cfg, ACTIVATIONS)
    arguments = {key: value for key, value in act_cfg.items() if key != 'type'}
    build = partial(activation_class, **arguments)
    activation = tried_out('act_cfg', act_cfg, build, 2, ACTIVATIONS)
    if hasattr(activation, 'inplace'):
        activation.inplace = False
    if type(activation) in OF_INPUT:
        activation.register_forward_hook(_remember_input)
    return activation


def _remember_input(activation: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """Forward hook: let readers of the output keep the input, which the activation keeps."""
    return remember(partial(type(activation).forward, activation), inputs, output)


class InSteps(nn.Module):
    """A module that calls its ``steps`` in a row, functions and modules; see :func:`together`."""

    def forward(self, x: Tensor) -> Any:
        return together((x, self.steps))[0]


class ConvNorm(InSteps):
    """``act(norm(conv(x)))`` of a map (B, C, H, W), or of vectors (B, C, N) as (B, C, N, 1).

    Padding keeps the size at stride 1.

    Args:
        weight_std: standard deviation of the truncated normal from which the kernel is drawn. By
            default that of He for ordinary kernels, and for depthwise ones Xavier's uniform
            distribution, as in deeplab2 (``layers/convolutions.py``).
        gamma: initial scale of the norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        norm_cfg: dict | None,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        act_cfg: dict | None = None,
        gamma: float | None = None,
        weight_std: float | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.norm = build_norm(norm_cfg, out_channels, gamma=gamma)
        self.act = build_activation(act_cfg)
        if weight_std is None and groups > 1:
            nn.init.xavier_uniform_(self.conv.weight)
        else:
            std = weight_std or (2.0 / (in_channels * kernel_size**2)) ** 0.5
            nn.init.trunc_normal_(self.conv.weight, std=std, a=-2 * std, b=2 * std)
        if bias:
            nn.init.zeros_(self.conv.bias)

    @property
    def steps(self) -> list[Callable]:
        return [self._convolved, norm_step(self.norm), self._finished]

    def _convolved(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            return self._convolved(x.unsqueeze(-1)).squeeze(-1)
        return contiguous_grad(keeping_recipe(self.conv, x))

    def _finished(self, x: Tensor) -> Tensor:
        return contiguous_grad(self.act(x))


def norm_step(norm: nn.Module) -> Callable:
    """A norm as a step, also for one value per statistic."""
    return norm if isinstance(norm, PanopticSyncBN) else partial(normalize, norm)


def has_forward_of(kind: type, module: Any) -> bool:
    """Whether neither a subclass nor a recomputation has changed the ``forward`` of a module."""
    return isinstance(module, kind) and getattr(module.forward, '__func__', None) is kind.forward


def steps_of(part: Any) -> list[Callable]:
    """The functions and modules that a module, or a function, calls in a row.

    A module stays whole where there is a single process.
    """
    several = get_world_size() > 1
    if several and has_forward_of(InSteps, part):
        part = part.steps
    if isinstance(part, list | tuple) or several and has_forward_of(nn.Sequential, part):
        return [step for one in part for step in steps_of(one)]
    return [part]


def together(*branches: tuple[Any, Any]) -> list:
    """What each module makes of its input, for parallel branches ``(input, module)``.

    Batch norms that the branches reach at the same time share one exchange among the processes;
    there, an exchange costs more than the numbers in it. A branch may also have several modules or
    functions, in a sequence.
    """
    values = [value for value, _ in branches]
    left = [steps_of(part) for _, part in branches]
    while True:
        waiting = []
        for i, steps in enumerate(left):
            while steps and not (
                has_forward_of(PanopticSyncBN, steps[0]) and steps[0].synchronized
            ):
                values[i] = steps.pop(0)(values[i])
            if steps:
                waiting.append(i)
        if not waiting:
            return values
        norms = [left[i].pop(0) for i in waiting]
        for i, x in zip(waiting, over_processes(norms, [values[i] for i in waiting])):
            values[i] = x
