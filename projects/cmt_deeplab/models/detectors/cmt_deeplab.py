"""The detector: mmdet's three modes around backbone, head, criterion and merge."""

import logging
import zlib
from functools import partial

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.logging import MessageHub, print_log
from torch import Tensor, nn

from cmt_deeplab.coco_format import check_num_classes
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.backbones.stages import FrozenMixin
from cmt_deeplab.models.blocks.drop_path import draws_per_image
from cmt_deeplab.models.heads.panoptic_head import HeadOutput
from cmt_deeplab.models.pixel_decoders.neck import AdaptedNeck
from cmt_deeplab.parts import build_part
from cmt_deeplab.postprocess import tried_merge
from cmt_deeplab.precision import not_finite
from cmt_deeplab.renamed import rename_weights
from cmt_deeplab.structures import MaskPrediction, PanopticTarget

from .checkpoint_check import ComparedWithCheckpoint
from .outputs import SummedLosses, add_prediction
from .probe import Features, blamed, probe_backbone
from .windows import PredictedInWindows


@MODELS.register_module()
class CMTDeepLab(
    FrozenMixin, PredictedInWindows, ComparedWithCheckpoint, SummedLosses, BaseDetector
):
    """CMT-DeepLab and, with other layers in its decoder, MaX-DeepLab and kMaX-DeepLab.

    The numbers of classes and ``align_corners`` are given here alone and passed to the parts;
    the widths and strides of the backbone's features are found by running it without values.

    Args:
        neck: config of a neck of mmdet between backbone and head, or a list of such configs.
        freeze_backbone: whether the backbone neither learns nor changes in training, of which the
            pyramid of a ``TimmViT`` is no part.
        with_cp: whether backbone and head recompute activations, unless they say it themselves.
        channels_last: whether maps lie channels-last in memory while training, which is faster on
            most GPUs. Weights stay as they are, and so do checkpoints.
        align_corners: whether bilinear resizing aligns the corners of the feature maps; inputs
            have 32k+1 pixels per side if so, and 32k if not.
        seed_per_image: None draws from torch's global generator. A number ties the sampling of
            the losses and drop path to the images: those of an image depend on this number, its
            id and the iteration alone. A batch then trains the same in one process or in
            several, and so does a run that was interrupted and resumed.
        semantic_on: predicts also ``pred_sem_seg``, the class of each pixel, for ``SemSegMetric``.
        instance_on: predicts also ``pred_instances``, the masks and scores of things, with boxes.
    """

    def __init__(
        self,
        *,
        num_things_classes: int,
        num_stuff_classes: int,
        backbone: dict,
        panoptic_head: dict,
        criterion: dict,
        postprocess: dict,
        neck: dict | list[dict] | None = None,
        freeze_backbone: bool = False,
        with_cp: bool = False,
        channels_last: bool = False,
        align_corners: bool = True,
        data_preprocessor: dict = dict(type='PanopticDataPreprocessor'),
        seed_per_image: int | None = None,
        semantic_on: bool = False,
        instance_on: bool = False,
        test_windows: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        check_num_classes(
            num_things_classes + num_stuff_classes,
            'model.num_things_classes + model.num_stuff_classes',
        )
        super().__init__(
            data_preprocessor=build_part(
                'model.data_preprocessor',
                data_preprocessor,
                align_corners=align_corners,
                num_things_classes=num_things_classes,
                num_stuff_classes=num_stuff_classes,
            ),
            init_cfg=init_cfg,
        )
        self._register_load_state_dict_pre_hook(rename_weights)
        self.num_things_classes, self.num_stuff_classes = num_things_classes, num_stuff_classes
        self.num_classes = num_things_classes + num_stuff_classes
        self.align_corners, self.freeze_backbone = align_corners, freeze_backbone
        self.semantic_on, self.instance_on = semantic_on, instance_on
        if test_windows is not None:
            self.set_test_windows(**test_windows)
        self.recomputing, self.channels_last = dict(with_cp=True) if with_cp else {}, channels_last
        self.seed_per_image, self._said_not_finite = seed_per_image, False
        self._last_draw = (-1, 0)  # iteration, number of draws before it in this iteration
        path = self.build_path(backbone, neck, panoptic_head)
        self.backbone, self.neck, self.panoptic_head = path
        counts, classes = dict(num_things_classes=num_things_classes), self.num_classes
        self.criterion = build_part('model.criterion', criterion, num_classes=classes, **counts)
        counts.update(num_stuff_classes=num_stuff_classes)
        adapt = partial(tried_merge, num_classes=classes)
        self.postprocess = build_part('model.postprocess', postprocess, adapt=adapt, **counts)
        if hasattr(self.criterion, 'compare_with_head'):
            self.criterion.compare_with_head(self.panoptic_head)

    def build_path(
        self, backbone: dict, neck: dict | list[dict] | None, panoptic_head: dict
    ) -> tuple[nn.Module, nn.Module | None, nn.Module]:
        """Backbone, neck and panoptic head from their configs, each for what the former gives."""
        between, aligned = None, self.align_corners
        try:
            network, (widths, strides) = self.build_backbone(backbone)
        except UserError as error:
            raise blamed(error, backbone, self.backbone_works) from error
        if neck is not None:
            between = AdaptedNeck(
                neck, in_channels=widths, in_strides=strides, align_corners=aligned
            )
            widths, strides = between.widths, between.strides
        head = build_part(
            'model.panoptic_head',
            panoptic_head,
            in_channels=widths,
            in_strides=strides,
            num_classes=self.num_classes,
            align_corners=aligned,
            **self.recomputing,
        )
        return network, between, head

    def build_backbone(self, config: dict) -> tuple[nn.Module, Features]:
        """The backbone with widths and strides of its features."""
        backbone = build_part('model.backbone', config, **self.recomputing)
        features = self.probe(backbone, config)
        if self.freeze_backbone:
            self.freeze([getattr(backbone, 'pretrained_part', backbone)])
        return backbone, features

    def backbone_works(self, config: dict) -> bool:
        """Whether a backbone can be built and fits."""
        try:
            self.build_backbone(config)
        except UserError:
            return False
        return True

    def probe(self, backbone: nn.Module, config: dict) -> Features:
        """Widths and strides of the features of ``backbone``, which was built from ``config``."""
        size = getattr(self.data_preprocessor, 'size', None)
        return probe_backbone(backbone, config, size=size, align_corners=self.align_corners)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Features of the backbone and the neck, fine to coarse, of images (B, 3, H, W)."""
        features = self.backbone(batch_inputs)
        return self.neck(features) if self.with_neck else features

    def network(self, batch_inputs: Tensor) -> HeadOutput:
        """The whole network on images (B, 3, H, W)."""
        return self.panoptic_head(self.extract_feat(batch_inputs))

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None
    ) -> tuple[Tensor, Tensor]:
        """Final mask logits (B, N, H, W) and class logits (B, N, C+1), without the merge."""
        final = self.network(batch_inputs).decoder.predictions[-1]
        return final.mask_logits, final.class_logits

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """The losses by name, each one number."""
        generators = self.image_generators(batch_data_samples)
        if self.channels_last:
            batch_inputs = batch_inputs.contiguous(memory_format=torch.channels_last)
        with draws_per_image(generators):
            output = self.network(batch_inputs)
        targets = [
            PanopticTarget(index=one.gt_panoptic_seg.index_map[0], labels=one.gt_segments.labels)
            for one in batch_data_samples
        ]
        return self.criterion(
            output.decoder.predictions,
            targets,
            semantic_logits=output.semantic_logits,
            generator=generators,
        )

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Adds ``pred_panoptic_seg`` to each sample.

        Its ``sem_seg`` (1, H, W) is the ``segment_map`` of a :class:`PanopticResult`, and its
        ``segments_info`` has the scores. It has the size of the original image, or without
        ``rescale`` that of the resized one.
        """
        final = self.network(batch_inputs).decoder.predictions[-1]
        self.check_finite(final, batch_data_samples)
        for i, sample in enumerate(batch_data_samples):
            add_prediction(
                self,
                sample,
                final.mask_logits[i],
                final.class_logits[i],
                input_size=tuple(batch_inputs.shape[-2:]),
                image_size=sample.metainfo.get('input_image_shape', sample.img_shape[:2]),
                rescale=rescale,
            )
        return batch_data_samples

    def check_finite(self, final: MaskPrediction, samples: SampleList) -> None:
        """Warn once about logits that are not finite.

        Raises:
            UserError: a tensor of the model is not finite.
        """
        sums = (x.sum(dtype=torch.float32) for x in (final.mask_logits, final.class_logits))
        if self._said_not_finite or torch.isfinite(sum(sums)):
            return
        name = not_finite(dict([*self.named_parameters(), *self.named_buffers()]))
        if name is not None:
            raise UserError(
                f"The weights of the model are not finite ('{name}' has nan or inf): use another "
                'checkpoint, or train with a lower learning rate.'
            )
        self._said_not_finite = True
        images = ', '.join(str(sample.get('img_path', '')) for sample in samples)
        print_log(
            f'The network gave numbers that are not finite for {images}, though its weights are '
            'finite, and finds nothing there: predict in fp32, or look at the image.',
            logger='current',
            level=logging.WARNING,
        )

    def image_generators(self, samples: SampleList) -> list[torch.Generator] | None:
        """One CPU generator per image, or None where draws are not tied to the images."""
        if self.seed_per_image is None:
            return None
        # The runner's iteration, which a resumed run continues; without a runner it stays 0.
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        last, repeats = self._last_draw
        self._last_draw = (iteration, repeats + 1 if iteration == last else 0)
        keys = (f'{self.seed_per_image}/{sample.img_id}/{self._last_draw}' for sample in samples)
        return [torch.Generator().manual_seed(zlib.crc32(key.encode())) for key in keys]
