"""The recursive feature network: two passes, the second of which reads features of the first."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.heads.panoptic_head import HeadOutput
from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput

from .cmt_deeplab import CMTDeepLab


@MODELS.register_module()
class CMTDeepLabRFN(CMTDeepLab):
    """Any backbone and panoptic head of this package, applied twice.

    The passes share no weights. The predictions of both are trained, and those of the second are
    the result; the semantic head reads the features of the second. That two passes share nothing
    follows from the published size, which is twice that of one pass; how the features are fed
    back is a choice of this project, after the recursive feature pyramid (DetectoRS, CVPR 2021).

    Args:
        feedback: names of modules of the backbone with a stage of the pixel decoder for each. In
            the second pass, the features that the first pass had after the layers of that stage
            are added to the module's output (B, C, H, W), after an activation, a 1x1 convolution
            with a norm whose scale starts at 0, and a bilinear resize.
        kwargs: as :class:`CMTDeepLab`.
    """

    def __init__(
        self,
        *,
        backbone: dict,
        panoptic_head: dict,
        feedback: dict[str, int],
        neck: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(backbone=backbone, panoptic_head=panoptic_head, neck=neck, **kwargs)
        first, between, head = self.build_path(
            backbone, neck, dict(panoptic_head, semantic_head=None)
        )
        self.first_pass = nn.ModuleDict(dict(backbone=first, panoptic_head=head))
        if between is not None:
            self.first_pass['neck'] = between
        into = self.feedback_channels(feedback, backbone)
        widths = head.pixel_decoder.out_channels
        if any(not 0 <= stage < len(widths) for stage in feedback.values()):
            raise UserError(
                f'CMTDeepLabRFN: feedback {dict(feedback)} must name stages 0 to '
                f'{len(widths) - 1} of the pixel decoder.'
            )
        self.feedback_stages = dict(feedback)
        self.feedback = nn.ModuleList(
            nn.Sequential(
                build_activation(head.act_cfg),
                ConvNorm(widths[stage], into[name], norm_cfg=head.norm_cfg, gamma=0.0),
            )
            for name, stage in feedback.items()
        )

    def network(self, batch_inputs: Tensor) -> HeadOutput:
        """Both passes on images (B, 3, H, W); what the first one gives precedes the second's."""
        features = self.first_pass['backbone'](batch_inputs)
        if 'neck' in self.first_pass:
            features = self.first_pass['neck'](features)
        first = self.first_pass['panoptic_head'](features, features_only=True).decoder
        hooks = {
            name: partial(self.add, project(first.stage_features[stage]))
            for project, (name, stage) in zip(self.feedback, self.feedback_stages.items())
        }
        with self.hooked(hooks):
            features = self.extract_feat(batch_inputs)
        second, semantic_logits = self.panoptic_head(features)
        return HeadOutput(
            DecoderOutput(
                first.predictions + second.predictions,
                first.assignments + second.assignments,
                second.stage_features,
            ),
            semantic_logits,
        )

    def add(self, plane: Tensor, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        """Forward hook: the output of a module plus ``plane``."""
        return output + resize(plane, output.shape[-2:], align_corners=self.align_corners)

    def hooked(self, hooks: dict[str, Callable]) -> ExitStack:
        """While open, the hooks run after the named modules of the second backbone."""
        stack = ExitStack()
        for name, hook in hooks.items():
            stack.callback(self.backbone.get_submodule(name).register_forward_hook(hook).remove)
        return stack

    def feedback_channels(self, feedback: dict[str, int], backbone: dict) -> dict[str, int]:
        """Width of the output of each named module, found while the backbone is probed."""
        widths: dict[str, int] = {}

        def note(name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
            if isinstance(output, Tensor) and output.dim() == 4:
                widths[name] = output.shape[1]

        modules = dict(self.backbone.named_modules())
        with self.hooked({name: partial(note, name) for name in feedback if name in modules}):
            self.probe(self.backbone, backbone)
        missing = [name for name in feedback if name not in widths]
        if missing or not feedback:
            parts = [name for name, _ in self.backbone.named_children()]
            raise UserError(
                f'CMTDeepLabRFN: feedback {missing or dict(feedback)} must name modules of '
                f'{type(self.backbone).__name__} that its forward calls and that give '
                f'(B, C, H, W): its parts are {parts}.'
            )
        return widths
