"""The recursive feature network: an encoder-decoder applied twice, the second pass seeing the features of the first."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import resize
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.heads.panoptic_head import HeadOutput
from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput

from .cmt_deeplab import CMTDeepLab, feature_channels, image_mask


@MODELS.register_module()
class CMTDeepLabRFN(CMTDeepLab):
    """Any backbone and panoptic head of this package, applied twice; arguments are those of :class:`CMTDeepLab`, and ``feedback``.

    ``feedback`` maps modules of the backbone to stages of the pixel decoder: in the second pass, what the first pass had at the end of that
    stage, after its layers, is added to the module's output (B, C, H, W): activation, 1x1 + norm with gamma 0, bilinear resize. The passes
    share no weight. The predictions of both are trained, those of the second are the result; the semantic head reads the second's features.

    Two passes without shared weights follow from the published size, twice that of one pass; the way of the features is a choice of this
    project, after the recursive feature pyramid (DetectoRS, CVPR 2021).
    """

    def __init__(
        self, *, backbone: dict, panoptic_head: dict, feedback: dict[str, int], **kwargs
    ) -> None:
        super().__init__(backbone=backbone, panoptic_head=panoptic_head, **kwargs)
        first = MODELS.build(backbone)
        head = MODELS.build(
            dict(
                panoptic_head,
                in_channels=kwargs.get('in_channels') or feature_channels(first),
                semantic_head=None,
                num_classes=self.num_classes,
                align_corners=self.align_corners,
            )
        )
        self.first_pass = nn.ModuleDict(dict(backbone=first, panoptic_head=head))
        into, widths = self.feedback_channels(feedback), head.pixel_decoder.out_channels
        if any(not 0 <= stage < len(widths) for stage in feedback.values()):
            raise UserError(
                f'CMTDeepLabRFN: feedback {dict(feedback)} must name stages 0 to {len(widths) - 1} of the pixel decoder'
            )
        self.feedback_stages = dict(feedback)
        self.feedback = nn.ModuleList(
            nn.Sequential(
                build_activation(head.act_cfg),
                ConvNorm(widths[stage], into[name], norm_cfg=head.norm_cfg, gamma=0.0),
            )
            for name, stage in feedback.items()
        )

    def network(
        self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None
    ) -> HeadOutput:
        """Both passes; (B, 3, H, W) in. Predictions and assignments of the first precede those of the second."""
        valid = image_mask(batch_inputs, batch_data_samples)
        first = self.first_pass['panoptic_head'](
            self.first_pass['backbone'](batch_inputs), valid, features_only=True
        ).decoder
        planes = [
            project(first.stage_features[stage])
            for project, stage in zip(self.feedback, self.feedback_stages.values())
        ]
        with self.hooked([partial(self.add, plane) for plane in planes]):
            features = self.extract_feat(batch_inputs)
        second = self.panoptic_head(features, valid)
        return HeadOutput(
            DecoderOutput(
                [*first.predictions, *second.decoder.predictions],
                [*first.assignments, *second.decoder.assignments],
                second.decoder.stage_features,
            ),
            second.semantic_logits,
        )

    def add(self, plane: Tensor, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return output + resize(plane, output.shape[-2:], align_corners=self.align_corners)

    def hooked(self, hooks: list[Callable], names: list[str] | None = None) -> ExitStack:
        """While open, the hooks run behind the named modules of the second backbone."""
        stack = ExitStack()
        for name, hook in zip(self.feedback_stages if names is None else names, hooks):
            stack.callback(self.backbone.get_submodule(name).register_forward_hook(hook).remove)
        return stack

    def feedback_channels(self, feedback: dict[str, int]) -> dict[str, int]:
        """Width of the output of each named module, from one small image."""
        widths: dict[str, int] = {}

        def note(name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
            if isinstance(output, Tensor) and output.dim() == 4:
                widths[name] = output.shape[1]

        missing = [name for name in feedback if name not in dict(self.backbone.named_modules())]
        if not missing:
            with self.hooked([partial(note, name) for name in feedback], list(feedback)):
                feature_channels(self.backbone)
            missing = [name for name in feedback if name not in widths]
        if missing or not feedback:
            raise UserError(
                f'CMTDeepLabRFN: feedback {missing or dict(feedback)} must name modules of {type(self.backbone).__name__} that its '
                f'forward calls and that give (B, C, H, W): its parts are {[name for name, _ in self.backbone.named_children()]}'
            )
        return widths
