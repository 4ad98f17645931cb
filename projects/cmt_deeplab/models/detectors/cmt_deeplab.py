"""The detector: mmdet's three modes around backbone, head, criterion and merge."""

import zlib
from collections.abc import Sequence

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.structures import PixelData
from torch import Tensor

from cmt_deeplab.models.blocks.drop_path import draws_per_image
from cmt_deeplab.models.heads.panoptic_head import HeadOutput
from cmt_deeplab.renamed import refuse_old_keys, rename_weights
from cmt_deeplab.structures import PanopticTarget


@MODELS.register_module()
class CMTDeepLab(BaseDetector):
    """CMT-DeepLab and, with other layers in its decoder, MaX-DeepLab and kMaX-DeepLab.

    The class counts and ``align_corners`` stand here alone and are handed to the parts. ``in_channels`` are the backbone's feature widths,
    fine to coarse; left out, they are read off the backbone by running it once on a small image. ``seed_per_image`` draws the sampling of
    the losses and drop path from one generator an image, seeded by this number, the image id and the iteration: a batch then trains the
    same whether one process holds it or several.
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
        align_corners: bool = True,
        in_channels: Sequence[int] | None = None,
        data_preprocessor: dict = dict(type='PanopticDataPreprocessor'),
        seed_per_image: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor=dict(data_preprocessor, align_corners=align_corners),
            init_cfg=init_cfg,
        )
        for name, part in dict(panoptic_head=panoptic_head, criterion=criterion).items():
            refuse_old_keys(part, f'model.{name}')
        self._register_load_state_dict_pre_hook(rename_weights)
        self.num_things_classes, self.num_stuff_classes = num_things_classes, num_stuff_classes
        self.num_classes = num_things_classes + num_stuff_classes
        self.align_corners, self.seed_per_image = align_corners, seed_per_image
        self._draws = 0
        self.backbone = MODELS.build(backbone)
        self.panoptic_head = MODELS.build(
            dict(
                panoptic_head,
                in_channels=in_channels or feature_channels(self.backbone),
                num_classes=self.num_classes,
                align_corners=align_corners,
            )
        )
        self.criterion = MODELS.build(
            dict(criterion, num_classes=self.num_classes, num_things_classes=num_things_classes)
        )
        self.postprocess = MODELS.build(
            dict(
                postprocess,
                num_things_classes=num_things_classes,
                num_stuff_classes=num_stuff_classes,
            )
        )

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        return self.backbone(batch_inputs)

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None
    ) -> tuple[Tensor, Tensor]:
        """Final mask logits (B, N, H, W) and class logits (B, N, C+1), without the merge."""
        final = self.network(batch_inputs, batch_data_samples).decoder.predictions[-1]
        return final.mask_logits, final.class_logits

    def network(
        self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None
    ) -> HeadOutput:
        """The whole network; (B, 3, H, W) in."""
        return self.panoptic_head(
            self.extract_feat(batch_inputs), image_mask(batch_inputs, batch_data_samples)
        )

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        generators = self.image_generators(batch_data_samples)
        with draws_per_image(generators):
            output = self.network(batch_inputs, batch_data_samples)
        targets = [
            PanopticTarget(
                index=sample.gt_panoptic_seg.index_map[0], labels=sample.gt_segments.labels
            )
            for sample in batch_data_samples
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
        """Adds ``pred_panoptic_seg`` to each sample: ``sem_seg`` (1, H, W) = label + 1000 x instance, void = number of classes, and
        ``segments_info`` with the scores; at the original size, or at the resized one without ``rescale``."""
        final = self.network(batch_inputs, batch_data_samples).decoder.predictions[-1]
        for i, sample in enumerate(batch_data_samples):
            image_size = sample.metainfo.get('input_image_shape', sample.img_shape[:2])
            result = self.postprocess(
                final.mask_logits[i],
                final.class_logits[i],
                input_size=tuple(batch_inputs.shape[-2:]),
                image_size=image_size,
                output_size=tuple(sample.ori_shape[:2]) if rescale else image_size,
                align_corners=self.align_corners,
            )
            sample.pred_panoptic_seg = PixelData(
                metainfo=dict(segments_info=result.segments_info), sem_seg=result.segment_map[None]
            )
        return batch_data_samples

    def image_generators(self, samples: SampleList) -> list[torch.Generator] | None:
        """One CPU generator an image, or None where draws are not tied to the images."""
        if self.seed_per_image is None:
            return None
        self._draws += 1
        keys = (f'{self.seed_per_image}/{sample.img_id}/{self._draws}' for sample in samples)
        return [torch.Generator().manual_seed(zlib.crc32(key.encode())) for key in keys]


def image_mask(batch_inputs: Tensor, samples: SampleList | None) -> Tensor | None:
    """(B, 1, H, W), 1 on image pixels and 0 on padding; None where the sizes are not known or nothing is padded."""
    sizes = [sample.metainfo.get('input_image_shape') for sample in samples or ()]
    if not sizes or None in sizes or all(size == tuple(batch_inputs.shape[-2:]) for size in sizes):
        return None
    mask = batch_inputs.new_zeros(len(sizes), 1, *batch_inputs.shape[-2:])
    for plane, (height, width) in zip(mask, sizes):
        plane[:, :height, :width] = 1
    return mask


@torch.no_grad()
def feature_channels(backbone: torch.nn.Module) -> list[int]:
    """Widths of a backbone's features, fine to coarse, from one small image."""
    training = backbone.training
    backbone.eval()
    channels = [feature.shape[1] for feature in backbone(torch.zeros(1, 3, 64, 64))]
    backbone.train(training)
    return channels
