"""mmdet's Swin Transformer with the weights of every code base."""
from typing import Dict

import torch.nn.functional as F
from mmdet.models.backbones import SwinTransformer
from mmdet.registry import MODELS
from torch import Tensor

from .pretrained import PretrainedMixin


@MODELS.register_module()
class PanopticSwinTransformer(PretrainedMixin, SwinTransformer):
    """mmdet's ``SwinTransformer``, the same parameters under the same names; ``init_cfg`` takes files of Swin's authors, timm, torchvision
    and mmpretrain without being told which (mmdet's ``convert_weights`` has no effect).

    The output norms are in none of them but for mmpretrain's last. Tables of another window size are resized bicubically, as in mmdet.
    """
    renamings = (
        (r'^features\.0\.0\.', 'patch_embed.projection.'), (r'^features\.0\.2\.', 'patch_embed.norm.'),  # torchvision
        (r'^features\.([1357])\.', lambda match: f'stages.{int(match[1]) // 2}.blocks.'),
        (r'^features\.([246])\.', lambda match: f'stages.{int(match[1]) // 2 - 1}.downsample.'),
        (r'\.mlp\.0\.', '.mlp.fc1.'), (r'\.mlp\.3\.', '.mlp.fc2.'),
        (r'^layers\.', 'stages.'), (r'^patch_embed\.proj\.', 'patch_embed.projection.'),  # the authors and timm
        (r'\.attn\.(?!w_msa\.)', '.attn.w_msa.'), (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'), (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
    )

    def adapt(self, weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
        if any(name.startswith(f'stages.{len(self.stages) - 1}.downsample.') for name in weights):  # timm: at the start of the next stage
            weights = {_one_stage_earlier(name): value for name, value in weights.items()}
        own = self.state_dict()
        adapted = {}
        for name, value in weights.items():
            if name.endswith('relative_position_bias_table') and name in own:
                value = _resized_table(value, len(own[name]))
            elif '.downsample.' in name and f'{name.partition(".downsample.")[0]}.blocks.0.attn.w_msa.qkv.weight' in weights \
                    and not self._from_mmpretrain:
                value = _unfold_order(value)
            adapted[name] = value
        return adapted
