"""mmdet's Swin Transformer with the weights of every code base."""

import re
from math import isqrt

import torch.nn.functional as F
from mmdet.models.backbones import SwinTransformer
from mmdet.registry import MODELS
from torch import Tensor

from .pretrained import PretrainedMixin


@MODELS.register_module()
class PanopticSwinTransformer(PretrainedMixin, SwinTransformer):
    """mmdet's ``SwinTransformer``, with the same parameters under the same names.

    ``init_cfg`` takes files of Swin's authors, timm, torchvision and mmpretrain without being told
    which (``convert_weights`` of mmdet has no effect). None of them has the norms of the outputs,
    but mmpretrain's has the last. Position biases of another window size are resized bicubically,
    as in mmdet.
    """

    renamings = (
        (r'^features\.0\.0\.', 'patch_embed.projection.'),
        (r'^features\.0\.2\.', 'patch_embed.norm.'),  # torchvision
        (r'^features\.([1357])\.', lambda match: f'stages.{int(match[1]) // 2}.blocks.'),
        (r'^features\.([246])\.', lambda match: f'stages.{int(match[1]) // 2 - 1}.downsample.'),
        (r'\.mlp\.0\.', '.mlp.fc1.'),
        (r'\.mlp\.3\.', '.mlp.fc2.'),
        (r'^layers\.', 'stages.'),
        (r'^patch_embed\.proj\.', 'patch_embed.projection.'),  # the authors and timm
        (r'\.attn\.(?!w_msa\.)', '.attn.w_msa.'),
        (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
        (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
    )

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        # OpenMMLab's files merge patches in the order of nn.Unfold, the others row by row.
        unfolded = any('.w_msa.' in name for name in weights)
        weights = super().rename(weights)
        if any(name.startswith(f'stages.{len(self.stages) - 1}.downsample.') for name in weights):
            weights = {_one_stage_earlier(name): value for name, value in weights.items()}
        own = self.state_dict()
        for name, value in weights.items():
            if '.downsample.' in name and not unfolded:
                patches = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
                weights[name] = patches.transpose(-1, -2).flatten(-2)
            elif name.endswith('relative_position_bias_table') and name in own:
                weights[name] = _resized_table(value, len(own[name]))
        return weights


def _one_stage_earlier(name: str) -> str:
    """timm merges patches at the start of a stage, mmdet at the end of the one before."""
    earlier = lambda match: f'stages.{int(match[1]) - 1}.downsample.'
    return re.sub(r'^stages\.(\d+)\.downsample\.', earlier, name)


def _resized_table(table: Tensor, rows: int) -> Tensor:
    """Biases ((2w-1)^2, heads) for a window with ``rows`` relative positions."""
    if len(table) == rows:
        return table
    planes = table.t().unflatten(1, (isqrt(len(table)), -1))[None]
    return F.interpolate(planes, (isqrt(rows), isqrt(rows)), mode='bicubic')[0].flatten(1).t()
