"""Plain vision transformers of timm, with a pyramid of features on their last map."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import corners_aligned, padded_side
from cmt_deeplab.models.blocks.conv_norm import ConvNorm
from cmt_deeplab.models.blocks.norm import build_norm

from .pretrained import PretrainedMixin
from .stages import NOTHING_FROZEN, StagesMixin
from .timm_backbone import create_model

PATCH = 16  # pixels per side
STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class TimmViT(StagesMixin, PretrainedMixin, BaseModule):
    """Features (B, out_channels, H / stride, W / stride) of strides 4, 8, 16 and 32.

    The network is a plain vision transformer of timm, a ``VisionTransformer`` or an ``Eva``, such
    as ``vit_small_patch14_dinov2`` or ``vit_small_patch16_dinov3``. Its last map, of stride 16 and
    behind its last norm, becomes a :class:`SimplePyramid`. Class and register tokens take part
    in the attention and are no part of the map.

    Images may have any size. Patches have 16 pixels per side, whatever the name of the model says:
    kernels of other patches are resized when a file is read, as in FlexiViT, and position
    embeddings are resized to each input. Where corners are aligned, the middle of the first patch
    lies on the first pixel, and zeros surround the image.

    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` reads a file or URL of timm or of the
    authors of DINOv2 and DINOv3.

    Args:
        model_name: timm's name of the model.
        out_channels: of each feature.
        out_indices: which features are given, from 0 for stride 4 to 3 for stride 32.
        norm_cfg: of the pyramid, which is neither pretrained nor ever frozen.
        frozen_stages, with_cp: see :class:`StagesMixin`. The stem is the embedding of the patches,
            and each block is a stage.
        kwargs: further arguments of timm, e.g. ``drop_path_rate``.

    Raises:
        MissingPackageError: timm, an optional package, is not installed.
        UserError: timm has no such model or does not take the arguments, the model is no plain
            vision transformer, or the checkpoint is that of another model.
        MissingFileError: the checkpoint cannot be read.

    Source: ViTDet (ECCV 2022), section 3; FlexiViT (CVPR 2023) for patches of another size, which
    EoMT (CVPR 2025) gives DINOv2 in the same way.
    """

    further_arguments = True  # those of timm

    def __init__(
        self,
        *,
        model_name: str,
        out_channels: int = 256,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        norm_cfg: dict | None = dict(type='PanopticLayerNorm'),
        frozen_stages: int = NOTHING_FROZEN,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        self.model_name = model_name
        if not out_indices or sorted(set(out_indices) & {0, 1, 2, 3}) != list(out_indices):
            raise UserError(
                'out_indices of TimmViT are among 0, 1, 2 and 3 (strides 4 to 32) in this order, '
                f'not {tuple(out_indices)}.'
            )
        self.strides = tuple(STRIDES[index] for index in out_indices)
        with torch.device('meta'):
            grid = _position_grid(create_model(self, model_name, {}, {}), model_name)
        own = dict(
            num_classes=0,
            global_pool='',
            patch_size=PATCH,
            img_size=tuple(PATCH * side for side in grid),
            dynamic_img_size=True,
        )
        self.model = create_model(self, model_name, own, kwargs)
        self.pyramid = SimplePyramid(
            self.model.embed_dim, out_channels, strides=self.strides, norm_cfg=norm_cfg
        )
        self.out_channels = (out_channels,) * len(self.strides)
        embedding = [part for name, part in self.model.named_children() if name != 'blocks']
        embedding.remove(self.model.norm)
        blocks = list(self.model.blocks)
        stages = [[*embedding, *self.model.parameters(recurse=False)], *([b] for b in blocks)]
        stages[-1].append(self.model.norm)
        self.set_stages(
            stages, blocks, frozen_stages=frozen_stages, norm_eval=False, with_cp=with_cp
        )

    @property
    def pretrained_part(self) -> nn.Module:
        return self.model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        sides = x.shape[-2:]
        aligned = [corners_aligned(side) for side in sides]
        margins = []  # left, right, top, bottom
        for side, odd in zip(sides[::-1], aligned[::-1]):
            before, around = ((PATCH - 1) // 2, PATCH - 1) if odd else (0, 0)
            margins += [before, padded_side(side, align_corners=odd) + around - before - side]
        x = F.pad(x, margins)
        size = [side // PATCH for side in x.shape[-2:]]
        tokens = self.model.forward_features(x)[:, self.model.num_prefix_tokens :]
        features = self.pyramid(tokens.transpose(1, 2).unflatten(2, size), aligned=aligned)
        height, width = sides
        return tuple(
            feature[..., : -(-height // stride), : -(-width // stride)]
            for feature, stride in zip(features, self.strides)
        )

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        convert = import_module(type(self.model).__module__).checkpoint_filter_fn
        try:
            with redirect_stdout(None):  # timm prints one line for each bias that it leaves out
                return convert(dict(weights), self.model)
        except Exception:  # whatever timm raises about a file of another model, which is refused
            return weights


class SimplePyramid(nn.Module):
    """Maps of strides among 4, 8, 16 and 32 of one map (B, C, H, W) of stride 16, fine to coarse.

    Transposed convolutions of stride 2 make the finer maps and max pooling the coarser one. A 1x1
    and a 3x3 convolution, each with a norm, give all of them ``out_channels``. Where corners are
    aligned, a transposed convolution gives cells between whose middles the pixels of the map lie:
    the mean of the neighboring cells is taken, which makes 2n - 1 pixels of n.

    Source: ViTDet (ECCV 2022), section 3, and detectron2's ``SimpleFeaturePyramid``.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        strides: Sequence[int] = STRIDES,
        norm_cfg: dict | None,
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        half, quarter = channels // 2, channels // 4
        doubling = lambda width, to: nn.ConvTranspose2d(width, to, 2, stride=2)
        if 8 in strides:
            self.to_stride8 = doubling(channels, half)
        if 4 in strides:
            self.to_stride4 = nn.ModuleList([doubling(channels, half), doubling(half, quarter)])
            self.norm = build_norm(norm_cfg, half)
        widths = {4: quarter, 8: half, 16: channels, 32: channels}
        self.outputs = nn.ModuleList(
            nn.Sequential(
                ConvNorm(widths[stride], out_channels, norm_cfg=norm_cfg),
                ConvNorm(out_channels, out_channels, 3, norm_cfg=norm_cfg),
            )
            for stride in strides
        )

    def forward(self, x: Tensor, *, aligned: Sequence[bool]) -> list[Tensor]:
        """``aligned`` says for height and width whether corners are aligned."""
        odd = [int(value) for value in aligned]

        def doubled(layer: nn.Module, x: Tensor) -> Tensor:
            x = layer(x)
            return F.avg_pool2d(x, [1 + one for one in odd], stride=1) if any(odd) else x

        def at(stride: int) -> Tensor:
            if stride == 4:
                first, second = self.to_stride4
                return doubled(second, F.gelu(self.norm(doubled(first, x))))
            if stride == 8:
                return doubled(self.to_stride8, x)
            if stride == 32:
                return F.max_pool2d(x, [2 + one for one in odd], stride=2, padding=odd)
            return x

        return [output(at(stride)) for output, stride in zip(self.outputs, self.strides)]


def _position_grid(model: nn.Module, model_name: str) -> tuple[int, int]:
    """How many patches per side the position embedding of a plain vision transformer is for."""
    from timm.layers import PatchEmbed
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    embedding = getattr(model, 'patch_embed', None)
    if type(model) not in (VisionTransformer, Eva) or not isinstance(embedding, PatchEmbed):
        raise UserError(
            f'{model_name} is a {type(model).__name__} of timm that is no plain vision '
            "transformer: use type='TimmBackbone' in place of 'TimmViT', or another model_name."
        )
    return embedding.grid_size
