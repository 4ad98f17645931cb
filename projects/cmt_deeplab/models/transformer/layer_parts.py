"""What the layers of CMT-DeepLab, MaX-DeepLab and kMaX-DeepLab have in common."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import (
    ConvNorm,
    InSteps,
    build_activation,
    norm_step,
    together,
)
from cmt_deeplab.models.blocks.drop_path import DropPath
from cmt_deeplab.models.blocks.module_config import require_sizes
from cmt_deeplab.models.blocks.norm import build_norm
from cmt_deeplab.models.heads.predictor import PredictorCall
from cmt_deeplab.structures import MaskPrediction

from .retrieval import retrieve


class LayerOutput(NamedTuple):
    """What a layer makes of its pixel features and cluster centers.

    The softmax of ``logits`` over N says how far each pixel belongs to each center; the next
    layer may add them to its own, and pictures show them. The heads h are 1 in kMaX-DeepLab.
    """

    pixels: Tensor  # (B, Dp, H, W)
    centers: Tensor  # (B, D, N)
    logits: Tensor  # (B, h, N, H, W)
    # None unless the layer was asked to predict; what is called is called after all layers.
    prediction: MaskPrediction | PredictorCall | None


class HeadProjection(ConvNorm):
    """Pixels (B, C, H, W) or centers (B, C, N) to queries, keys or values of several heads.

    There is one (B, h, d, M) for each of ``depths``, which are those of all heads together.
    """

    def __init__(
        self, in_channels: int, depths: Sequence[int], *, heads: int, norm_cfg: dict | None
    ) -> None:
        super().__init__(in_channels, sum(depths), norm_cfg=norm_cfg, weight_std=in_channels**-0.5)
        self.depths, self.heads = depths, heads

    def _finished(self, x: Tensor) -> list[Tensor]:
        parts = super()._finished(x).flatten(2).split(self.depths, dim=1)
        return [part.unflatten(1, (self.heads, part.shape[1] // self.heads)) for part in parts]


def affinities(*triples: tuple[nn.Module, Tensor, Tensor]) -> list[Tensor]:
    """Normalized products (B, h, N, M) of queries (B, h, d, N) with keys (B, h, d, M).

    Each triple has a norm with one channel per head, which takes the place of 1 / sqrt(d).
    """
    return together(
        *((query.transpose(2, 3) @ key, norm_step(norm)) for norm, query, key in triples)
    )


class RetrievedUpdate(InSteps):
    """Retrieved values (B, Dv, ...) to a residual term of ``out_channels``.

    Norm, activation, 1x1 convolution, norm with an initial scale of 0, drop path; as in deeplab2
    (``dual_path_transformer.py``).
    """

    def __init__(
        self,
        value_channels: int,
        out_channels: int,
        *,
        norm_cfg: dict | None,
        act_cfg: dict | None,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm = build_norm(norm_cfg, value_channels)
        self.act = build_activation(act_cfg)
        self.project = ConvNorm(value_channels, out_channels, norm_cfg=norm_cfg, gamma=0.0)
        self.drop_path = DropPath(drop_path)

    @property
    def steps(self) -> list[Callable]:
        return [norm_step(self.norm), self.act, self.project, self.drop_path]


class CenterSelfAttention(nn.Module):
    """Self-attention among the centers as a residual term (deeplab2 ``AttentionOperation``)."""

    def __init__(
        self, qkv: HeadProjection, similarity_norm: nn.Module, update: RetrievedUpdate
    ) -> None:
        super().__init__()
        self.qkv, self.similarity_norm, self.update = qkv, similarity_norm, update

    def forward(self, projected: Tensor) -> Tensor:
        """Projected centers (B, D', N) to the update (B, D, N)."""
        query, key, value = self.qkv(projected)
        (similarity,) = affinities((self.similarity_norm, query, key))  # (B, h, N, N)
        return self.update(retrieve(similarity, value)[0])


class TransformerLayer(nn.Module):
    """What the layers have in common: their arguments, and the parts that they are made of.

    Args:
        pixel_channels, center_channels: widths Dp and D of what comes in and goes out.
        align_corners: whether resizing aligns the corners.
        predictor: builds the layer's own predictor, for deep supervision, from its
            ``pixel_channels``, ``center_channels`` and ``project_centers``; None for none.
        drop_path: probability with which a residual term is dropped for one image.
        hidden_channels: width to which pixels and centers are projected.
        heads: of every attention.
        key_channels, value_channels: of all heads together.
        ffn_channels: width inside the feed-forward network of the centers.
    """

    consumes_prediction = False  # whether the layer works with its own prediction

    def __init__(
        self,
        *,
        pixel_channels: int,
        center_channels: int,
        norm_cfg: dict | None,
        act_cfg: dict | None,
        align_corners: bool,
        predictor: Callable[..., nn.Module] | None,
        drop_path: float = 0.0,
        hidden_channels: int = 256,
        heads: int = 8,
        key_channels: int = 128,
        value_channels: int = 256,
        ffn_channels: int = 2048,
    ) -> None:
        super().__init__()
        sizes = dict(
            heads=heads,
            hidden_channels=hidden_channels,
            key_channels=key_channels,
            value_channels=value_channels,
            ffn_channels=ffn_channels,
        )
        require_sizes(type(self).__name__, **sizes)
        if key_channels % heads or value_channels % heads:
            raise UserError(
                f'{type(self).__name__}: key_channels {key_channels} and value_channels '
                f'{value_channels} must be multiples of heads {heads}.'
            )
        self.pixel_channels, self.center_channels = pixel_channels, center_channels
        self.hidden_channels, self.ffn_channels = hidden_channels, ffn_channels
        self.heads, self.key_channels, self.value_channels = heads, key_channels, value_channels
        self.align_corners, self.predictor_type = align_corners, predictor
        self.common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.update = dict(self.common, drop_path=drop_path)
        self.act = build_activation(act_cfg)

    def build_input(self, channels: int) -> ConvNorm:
        """The projection of pixels or centers that every part of the layer reads."""
        return ConvNorm(channels, self.hidden_channels, **self.common)

    def build_projection(self, *depths: int, heads: int | None = None) -> HeadProjection:
        """Projection to queries, keys or values of these depths, for all heads of the layer."""
        norm = dict(norm_cfg=self.common['norm_cfg'])
        return HeadProjection(self.hidden_channels, depths, heads=heads or self.heads, **norm)

    def build_similarity_norm(self, gamma: float | None = None) -> nn.Module:
        """Norm of the similarities, with one channel per head."""
        return build_norm(self.common['norm_cfg'], self.heads, gamma=gamma)

    def build_update(self, channels: int, **changes: None) -> RetrievedUpdate:
        """Retrieved values as a residual term of the centers or the pixels."""
        return RetrievedUpdate(self.value_channels, channels, **dict(self.update, **changes))

    def build_self_attention(self) -> CenterSelfAttention:
        """Self-attention among the centers."""
        keys, values = self.key_channels, self.value_channels
        return CenterSelfAttention(
            self.build_projection(keys, keys, values),
            self.build_similarity_norm(),
            self.build_update(self.center_channels),
        )

    def build_feed_forward(self) -> nn.Sequential:
        """Two 1x1 convolutions on the centers as a residual term; the last scale starts at 0."""
        width, hidden = self.center_channels, self.ffn_channels
        parts = dict(
            expand=ConvNorm(width, hidden, **self.common),
            reduce=ConvNorm(hidden, width, norm_cfg=self.common['norm_cfg'], gamma=0.0),
            drop_path=DropPath(self.update['drop_path']),
        )
        return nn.Sequential(OrderedDict(parts))

    def build_predictor(self) -> nn.Module | None:
        """The layer's own predictor, which reads its projected pixels and centers."""
        if self.predictor_type is None:
            return None
        width = self.hidden_channels
        return self.predictor_type(
            pixel_channels=width, center_channels=width, project_centers=False
        )

    def predicted(self, *inputs: Tensor | None) -> MaskPrediction | PredictorCall:
        """What the layer predicts, as a call: those of all layers are made together.

        A sharded layer has its parameters only while it runs, so it makes the call itself.
        """
        call = PredictorCall(self.predictor, *inputs)
        return call() if isinstance(self, FSDPModule) else call
