"""PQ of the ground truth itself, passed through the plane that a model of a given stride predicts on: the ceiling of that stride.

    python tools/analysis_tools/plane_ceiling.py CONFIG [--stride 4] [--json OUT]

The truth of the config's validation set is resized as the pipeline resizes the image, brought to the stride of the prediction, written as
confident mask and class logits, merged by the config's own merge at the original size and scored by the config's metric.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--stride', type=int, default=4, help='of the plane, a power of two')
    parser.add_argument('--json', help='file for the figures')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='key=value overrides of the config'
    )
    return parser.parse_args()


def confident_logits(plane, labels, num_classes: int):
    """One slot a segment that is sure of its pixels and its class, (K+1, h, w) and (K+1, C+1); the last slot takes the void."""
    slots = torch.arange(-1, len(labels))
    slots = torch.cat([slots[1:], slots[:1]])
    masks = 50.0 * (plane.clamp(min=-1) == slots.view(-1, 1, 1)).float()
    classes = (
        50.0
        * F.one_hot(torch.cat([labels, labels.new_tensor([num_classes])]), num_classes + 1).float()
    )
    return masks, classes


def main() -> None:
    args = parse_args()
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options or {})
    import_modules_from_strings(**config.get('custom_imports', dict(imports=['cmt_deeplab'])))
    init_default_scope('mmdet')
    from cmt_deeplab.datasets.index_plane import resize_plane
    from cmt_deeplab.geometry import padded_side, plane_at_stride
    from mmdet.registry import DATASETS, METRICS, MODELS

    model = config.model
    aligned, num_classes = (
        model.get('align_corners', True),
        model.num_things_classes + model.num_stuff_classes,
    )
    merge = MODELS.build(
        dict(
            model.postprocess,
            num_things_classes=model.num_things_classes,
            num_stuff_classes=model.num_stuff_classes,
        )
    )
    dataset, metric = (
        DATASETS.build(config.val_dataloader.dataset),
        METRICS.build(config.val_evaluator),
    )
    metric.dataset_meta = dataset.metainfo
    size = model.data_preprocessor.get('size')
    for i in track(range(len(dataset))):
        item = dataset[i]
        sample, image_size = item['data_samples'], tuple(item['inputs'].shape[-2:])
        keep = ~sample.gt_segments.is_crowd
        number = torch.cat(
            [torch.where(keep, keep.long().cumsum(0) - 1, -1), torch.tensor([-1])]
        )  # crowds and void are no slot
        truth = number[sample.gt_panoptic_seg.index_map[0].long()].numpy().astype('int16')
        input_size = (
            tuple(size)
            if size
            else tuple(padded_side(side, align_corners=aligned) for side in image_size)
        )
        plane = F.pad(
            torch.from_numpy(resize_plane(truth, *image_size)),
            (0, input_size[1] - image_size[1], 0, input_size[0] - image_size[0]),
            value=-1,
        )
        plane = plane_at_stride(
            plane, tuple((side - aligned) // args.stride + aligned for side in input_size)
        )
        masks, classes = confident_logits(plane, sample.gt_segments.labels[keep], num_classes)
        result = merge(
            masks,
            classes,
            input_size=input_size,
            image_size=image_size,
            output_size=tuple(truth.shape),
            align_corners=aligned,
        )
        sample.pred_panoptic_seg = PixelData(sem_seg=result.segment_map[None])
        metric.process({}, [sample.to_dict()])
    figures = metric.evaluate(len(dataset))
    print(
        f'stride {args.stride}: '
        + ', '.join(
            f'{name.split("/")[-1]} {value:.2f}'
            for name, value in figures.items()
            if isinstance(value, float)
        )
    )
    if args.json:
        Path(args.json).write_text(json.dumps(dict(stride=args.stride, **figures), indent=1))


if __name__ == '__main__':
    import cmt_deeplab  # noqa: F401  (before mmdet: it must import without compiled operators)
    import torch
    import torch.nn.functional as F
    from mmengine.config import Config, DictAction
    from mmengine.registry import init_default_scope
    from mmengine.structures import PixelData
    from mmengine.utils import import_modules_from_strings
    from mmengine.utils import track_iter_progress as track

    main()
