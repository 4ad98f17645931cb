"""What the optimizer decays, how fast each part learns, and the schedule."""

import logging
from typing import Any

from mmcv.ops import DeformConv2d, ModulatedDeformConv2d
from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS, PARAM_SCHEDULERS
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch import nn

from cmt_deeplab.construction import name_of
from cmt_deeplab.errors import UserError

from .layer_decay import layer_lr_factors

MODULES_WITH_KERNELS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.MultiheadAttention,
    DeformConv2d,
    ModulatedDeformConv2d,
)
LAYER_DECAY = {'decay_rate', 'decay_type'}


def is_kernel(module: nn.Module, name: str) -> bool:
    """Whether the parameter ``name`` of ``module`` is the kernel of a convolution or a linear map.

    The class of the module decides. So tables of relative positions (ours, of Swin, of timm),
    embeddings, cluster centers, gains of norms, layer scales and all biases are not kernels.
    """
    return isinstance(module, MODULES_WITH_KERNELS) and name.endswith('weight')


def check_optim_wrapper(config: dict, model: nn.Module, logger: Any) -> None:
    """Compare ``optim_wrapper`` of the config with the model and the device.

    A class of mmengine becomes its name, for which there is a wrapper of this package.

    Raises:
        UserError: the optimizer is unknown, the mixed precision needs a GPU, or mmdet's layer-wise
            decay does not know the backbone.
    """
    if config.get('type') in (OptimWrapper, AmpOptimWrapper):
        config['type'] = config['type'].__name__
    kind = config.get('optimizer', {}).get('type')
    if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
        raise UserError(
            f"optim_wrapper.optimizer.type is '{kind}', which is no known optimizer: use one such "
            "as 'AdamW', or import its module in custom_imports."
        )
    if name_of(config.get('type')) == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise UserError(
            "optim_wrapper.type='AmpOptimWrapper' needs a GPU; use 'PanopticAmpOptimWrapper' "
            '(--amp), which takes bfloat16 on the CPU.'
        )
    for part, key in (('optimizer', 'lr'), ('clip_grad', 'max_norm'), ('clip_grad', 'clip_value')):
        if (config.get(part) or {}).get(key) == 0:
            logger.warning(f'optim_wrapper.{part}.{key} is 0, so that training learns nothing.')
    constructor = name_of(config.get('constructor'))
    backbone = type(getattr(model, 'backbone', None)).__name__
    if constructor == 'LearningRateDecayOptimizerConstructor' and 'ConvNeXt' not in backbone:
        raise UserError(
            f'optim_wrapper.constructor={constructor!r} of mmdet knows ConvNeXt alone; use '
            "'PanopticOptimWrapperConstructor' with paramwise_cfg=dict(decay_rate=...)."
        )
    for key in (config.get('paramwise_cfg') or {}).get('custom_keys', ()):
        if not any(key in name for name, _ in model.named_parameters()):
            logger.warning(
                f"optim_wrapper.paramwise_cfg.custom_keys['{key}'] matches no parameter."
            )


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PanopticOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Weight decay on kernels only, and learning-rate factors by part of the parameter's name.

    deeplab2 decays the variables whose name ends with 'kernel' or 'weight'; kmax-deeplab exempts
    norms, biases, relative positions, cluster centers and layer scales. Both decay the kernels of
    convolutions and linear maps, see :func:`is_kernel`.

    ``paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)})`` works as in mmengine, where
    the longest matching key counts; ``decay_mult`` acts on kernels. Parameters with the same
    factors share one group, so the optimizer steps over a handful of groups.

    ``decay_rate=0.8`` in ``paramwise_cfg`` lets the learning rate decay by this factor from layer
    to layer of the backbone, and with ``decay_type='stage_wise'`` from stage to stage: see
    :func:`layer_lr_factors`. Both keys are those of mmdet; the number of layers is counted.

    Raises:
        UserError: ``paramwise_cfg`` has another key, a custom key matches no parameter, or the
            layers of the backbone are not known.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if self.base_lr is None:
            raise UserError('optim_wrapper.optimizer has no lr, the learning rate: add it.')
        # mmengine skips add_params where paramwise_cfg is empty
        custom_keys = self.paramwise_cfg.setdefault('custom_keys', {})
        for key, factors in {'': self.paramwise_cfg, **custom_keys}.items():
            place = f".custom_keys['{key}']" if key else ''
            allowed = ('lr_mult', 'decay_mult') if key else ('custom_keys', *sorted(LAYER_DECAY))
            for unknown in sorted(set(factors) - set(allowed)):
                raise UserError(
                    f"optim_wrapper.paramwise_cfg{place} has the key '{unknown}', which "
                    f'{type(self).__name__} does not know; use {" or ".join(allowed)}.'
                )

    def add_params(self, params: list, module: nn.Module, **kwargs: Any) -> None:
        """Append one group per pair of learning rate and weight decay, the fastest first."""
        custom_keys = self.paramwise_cfg['custom_keys']
        unmatched = set(custom_keys)
        layer_decay = {
            key: self.paramwise_cfg[key] for key in LAYER_DECAY & self.paramwise_cfg.keys()
        }
        layer_factors = layer_lr_factors(module, **layer_decay) if layer_decay else {}
        groups = {}
        for name, parameter in module.named_parameters():
            key = max((key for key in custom_keys if key in name), key=len, default=None)
            unmatched.discard(key)
            if parameter.requires_grad:
                factors = custom_keys.get(key, {})
                lr = self.base_lr * factors.get('lr_mult', 1.0) * layer_factors.get(name, 1.0)
                decay = (self.base_wd or 0.0) * factors.get('decay_mult', 1.0)
                owner, _, own_name = name.rpartition('.')
                decay *= is_kernel(module.get_submodule(owner), own_name)
                groups.setdefault((lr, decay), []).append(parameter)
        if unmatched:
            raise UserError(
                f"optim_wrapper.paramwise_cfg.custom_keys['{min(unmatched)}'] matches no parameter "
                'of the model; correct or remove it.'
            )
        for lr, decay in sorted(groups, reverse=True):
            parameters = groups[lr, decay]
            params.append(dict(params=parameters, lr=lr, weight_decay=decay))
            print_log(
                f'Optimizer group: {len(parameters)} tensors, '
                f'{sum(p.numel() for p in parameters):,} parameters, '
                f'lr {lr:g}, weight decay {decay:g}',
                logger='current',
            )


@PARAM_SCHEDULERS.register_module()
class PanopticWarmupPolyLR(_ParamScheduler):
    """A linear warm-up followed by a polynomial decay, as in deeplab2 and kmax-deeplab.

    At iteration t of T = ``end`` the learning rate of a parameter group is its initial value times

        start_factor + (1 - start_factor) t / warmup    for t < warmup,
        (1 - t / T) ** power                            afterwards.

    The decay counts from iteration 0, so the learning rate drops where the warm-up ends: from 1 to
    0.970 with the defaults and T = 150,000. mmengine's LinearLR and PolyLR cannot express this:
    where their ranges overlap mmengine multiplies them, and a PolyLR that begins after the warm-up
    starts from 1. Sources: ``trainer/trainer_utils.py`` of deeplab2 (``start_factor=0``) and
    ``train_net_utils.py`` of kmax-deeplab (``start_factor=0.001``, detectron2's default).

    The scheduler sets the learning rate whatever its present value, so it cannot be combined with
    another scheduler of the learning rate.

    Args:
        warmup: Number of iterations of the warm-up. A trial run that is shorter ends within it.
        start_factor: Factor of the very first iteration.
        power: Exponent of the decay.
        end: T; mmengine's runner inserts the number of training iterations where the config has
            ``by_epoch=False`` and no ``end``.

    Raises:
        UserError: the schedule counts epochs, or the warm-up is negative.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        end: int,
        warmup: int = 5000,
        start_factor: float = 0.0,
        power: float = 0.9,
        by_epoch: bool = True,
    ) -> None:
        if by_epoch or warmup < 0:
            raise UserError(
                f'param_scheduler has warmup={warmup} and by_epoch={by_epoch}: set by_epoch=False '
                'and a warm-up of 0 or more iterations.'
            )
        if warmup >= end:
            print_log(
                f'param_scheduler.warmup={warmup} lasts to the end of training ({end} iterations); '
                'that is right for a trial run only.',
                logger='current',
                level=logging.WARNING,
            )
        self.warmup, self.start_factor, self.power = warmup, start_factor, power
        super().__init__(optimizer, 'lr', end=end, by_epoch=False)

    def _get_value(self) -> list[float]:
        if self.last_step < self.warmup:
            factor = self.start_factor + (1 - self.start_factor) * self.last_step / self.warmup
        else:
            factor = (1 - self.last_step / self.end) ** self.power
        return [value * factor for value in self.base_values]
