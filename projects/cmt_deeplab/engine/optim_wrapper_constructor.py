"""Which parameters the optimizer decays, and how fast each learns."""

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from cmt_deeplab.errors import UserError


def is_kernel(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is the kernel of a convolution or a linear map.

    Biases, gains of norms, learned centers, embeddings and relative positions are not.
    """
    return (
        parameter.ndim >= 2
        and (name == 'weight' or name.endswith('_weight'))
        and not isinstance(module, nn.Embedding)
    )


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PanopticOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Weight decay on kernels only (deeplab2 code); learning-rate factors by part of the name.

    ``paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)})`` as in mmengine, the longest matching key counts; ``decay_mult``
    acts on kernels. Parameters with the same factors share one group: the optimizer steps over a handful of groups, not one a parameter.

    Raises:
        ValueError: another key in ``paramwise_cfg``, or one of the custom keys matches no parameter.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        unknown = set(self.paramwise_cfg) - {'custom_keys'}
        if unknown:
            raise UserError(
                f"optim_wrapper.paramwise_cfg has the key '{sorted(unknown)[0]}', which PanopticOptimWrapperConstructor does "
                'not know; use custom_keys.'
            )
        for key, factors in self.paramwise_cfg.get('custom_keys', {}).items():
            unknown = set(factors) - {'lr_mult', 'decay_mult'}
            if unknown:
                raise UserError(
                    f"optim_wrapper.paramwise_cfg.custom_keys['{key}'] has '{sorted(unknown)[0]}'; use lr_mult, decay_mult."
                )

    def add_params(
        self, params: list, module: nn.Module, prefix: str = '', is_dcn_module: bool | None = None
    ) -> None:
        """Appends one group for each pair of learning rate and weight decay, the largest learning rate first."""
        custom_keys = self.paramwise_cfg.get('custom_keys', {})
        longest_first = sorted(custom_keys, key=len, reverse=True)
        unmatched = set(custom_keys)
        groups, seen = {}, set()
        for module_name, owner in module.named_modules():
            for name, parameter in owner.named_parameters(recurse=False):
                if id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                full_name = f'{module_name}.{name}'
                key = next((key for key in longest_first if key in full_name), None)
                unmatched.discard(key)
                if not parameter.requires_grad:
                    continue
                factors = custom_keys.get(key, {})
                decay = (
                    (self.base_wd or 0.0) * factors.get('decay_mult', 1.0)
                    if is_kernel(owner, name, parameter)
                    else 0.0
                )
                groups.setdefault((self.base_lr * factors.get('lr_mult', 1.0), decay), []).append(
                    parameter
                )
        if unmatched:
            raise UserError(
                f"optim_wrapper.paramwise_cfg.custom_keys['{sorted(unmatched)[0]}'] matches no parameter of the model; "
                'correct or remove it.'
            )
        for lr, weight_decay in sorted(groups, reverse=True):
            parameters = groups[lr, weight_decay]
            params.append(dict(params=parameters, lr=lr, weight_decay=weight_decay))
            print_log(
                f'Optimizer group: {len(parameters)} tensors, {sum(p.numel() for p in parameters):,} parameters, lr {lr:g}, '
                f'weight decay {weight_decay:g}',
                logger='current',
            )

    def __call__(self, model: nn.Module):
        self.paramwise_cfg.setdefault(
            'custom_keys', {}
        )  # an empty paramwise_cfg makes mmengine skip add_params
        return super().__call__(model)
