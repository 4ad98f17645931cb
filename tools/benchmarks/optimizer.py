"""The optimizer's step of our config beside mmengine's one group for each parameter.

Both are the AdamW of CMT-DeepLab R50 on equal gradients, with equal learning rates and decay.
"""

import argparse
from collections.abc import Iterator
from copy import deepcopy

import torch
from harness import Subject
from mmdet.registry import MODELS
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, build_optim_wrapper
from models import CONFIGS, OURS, read_model


def subjects(args: argparse.Namespace) -> Iterator[Subject]:
    config = read_model(str(CONFIGS / OURS['CMT-DeepLab R50'])).config
    config.model.backbone.init_cfg = None
    network = MODELS.build(config.model)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    ours = build_optim_wrapper(network, deepcopy(config.optim_wrapper))
    wrapper = dict(type=OptimWrapper, optimizer=deepcopy(config.optim_wrapper.optimizer))
    paramwise = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
    paramwise.update(config.optim_wrapper.get('paramwise_cfg', {}))
    plain = DefaultOptimWrapperConstructor(wrapper, paramwise)(network)
    optimizers = {'ours': ours.optimizer, 'a group per parameter': plain.optimizer}
    yield Subject(
        {name: lambda run, each=each: each.step for name, each in optimizers.items()},
        title='optimizer, one step of CMT-DeepLab R50',
        figures={name: dict(groups=len(o.param_groups)) for name, o in optimizers.items()},
    )
