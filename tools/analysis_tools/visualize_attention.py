"""Where the centers of the last layer look, as pictures and as figures over a data set.

    python tools/analysis_tools/visualize_attention.py CONFIG CHECKPOINT 0 1 2 \
        --beside CONFIG CHECKPOINT --data-set

Images are counted from 0 in the order of the test set. Each gets two files: image0_attention.png
with a row for each of its largest segments, outlined in the image and in what its center attends
to, and image0_clusters.png, in which each pixel has the color of the center that it is assigned to
after each layer, paler where the layer is undecided. --beside draws a second model next to the
first, of the same data; two with the same layer are numbered.

The attention of a center is the softmax over the pixels, its assignment the softmax over the
centers (or the nearest center, in k-means layers); both are means over the heads, and sum to 1 over
the pixels. A segment counts if the mask of its matched center has a Dice of 0.5 or more, in both
models where there are two. Of the mass of a map, "inside" is the share within the segment, and
"covers" the share of the segment's pixels that hold 90 % of that. --data-set prints the means of
these over the whole test set, or its first N images, by the size of the segments.
"""

import argparse
import math
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import (
    UserError,
    add_shared_arguments,
    config_file,
    positive,
    report_user_errors,
    require_checkpoint,
)

if TYPE_CHECKING:
    import numpy as np
    from cmt_deeplab.analysis.attention import SegmentAttention

SIDE = 256  # of a panel, in pixels


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='file or name of a config')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        'images', type=int, nargs='*', metavar='IMAGE', help='place in the test set'
    )
    parser.add_argument('--beside', nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help='second model')
    parser.add_argument(
        '--data-set',
        type=positive,
        nargs='?',
        const=sys.maxsize,
        metavar='N',
        help='print the figures of the test set, or of its first N images',
    )
    parser.add_argument(
        '--segments', type=positive, default=4, help='number of segments in a picture (4)'
    )
    parser.add_argument('--output-dir', default='attention', metavar='DIR', help='(attention)')
    add_shared_arguments(parser)
    args = parser.parse_args()
    if not args.images and not args.data_set:
        parser.error('name images by their places, or give --data-set')
    args.models = [(args.config, args.checkpoint), *([args.beside] if args.beside else [])]
    for _, checkpoint in args.models:
        require_checkpoint(checkpoint)
    return args


class Model:
    """A trained model with its test set."""

    def __init__(self, args: argparse.Namespace, config: str, checkpoint: str) -> None:
        from cmt_deeplab.analysis.attention import last_layer
        from cmt_deeplab.engine.class_check import unwrapped
        from cmt_deeplab.engine.runner_setup import build_runner, load_config

        args.config = config_file(config)
        cfg = load_config(args)
        cfg.experiment_name = f'{Path(config).stem} {id(self)}'
        if 'visualizer' in cfg:  # mmengine keeps one for each name
            cfg.visualizer.name = cfg.experiment_name
        self.runner = build_runner(cfg)
        self.runner.load_checkpoint(checkpoint, map_location='cpu')
        self.network, self.loop = unwrapped(self.runner.model), self.runner.test_loop
        dataset = self.loop.dataloader.dataset
        self.images = tuple(dataset.get_data_info(i)['img_path'] for i in range(len(dataset)))
        self.name = type(last_layer(self.network)).__name__.removesuffix('Layer')

    def attention(self, place: int) -> dict[int, 'SegmentAttention']:
        """By the index of the segment."""
        from cmt_deeplab.analysis.attention import segment_attention

        loader = self.loop.dataloader
        rows = segment_attention(self.network, loader.collate_fn([loader.dataset[place]]))
        return {row.segment: row for row in rows}


def found_by_all(models: list[Model], place: int) -> list[list['SegmentAttention']]:
    """The attention of each model to the segments that all have found, largest segment first."""
    found = [model.attention(place) for model in models]
    common = set.intersection(*map(set, found))
    order = sorted(common, key=lambda k: -found[0][k].share)
    return [[one[k] for one in found] for k in order]


def draw(models: list[Model], place: int, args: argparse.Namespace) -> None:
    """Write both pictures of an image."""
    import cv2
    import numpy as np
    from cmt_deeplab.reports.examples import example
    from cmt_deeplab.visualization.beside import joined
    from cmt_deeplab.visualization.drawer import at_size
    from mmcv import imwrite

    drawn = [
        example(m.runner.model, m.loop, m.loop.evaluator.metrics[0], place=place, name=str(place))
        for m in models
    ]
    image = drawn[0].pictures['image']
    classes = models[0].loop.dataloader.dataset.metainfo['classes']
    rows = []
    for both in found_by_all(models, place)[: args.segments]:
        panels = {
            f'{classes[both[0].label]}, {both[0].share:.1%} of the image': outlined(image, both[0])
        }
        for model, one in zip(models, both):
            for kind in sorted(one.maps, reverse=True):
                says = f'{one.inside(kind):.0%} inside, covers {one.covered(kind):.0%}'
                panels[f'{model.name} {kind}: {says}'] = heat(one, kind)
        rows.append(joined(panels))
    layers = []
    for model, one in zip(models, drawn):
        strip = {'image': image, **one.layers}
        layers.append(joined({f'{model.name}: {k}': at_size(v) for k, v in strip.items()}))
    for kind, parts in (('attention', rows), ('clusters', layers)):
        if not parts:
            print(f'image {place}: no segment is found by all models, so there is no picture')
            continue
        width = max(part.shape[1] for part in parts)
        whole = [
            np.pad(part, [(0, 12), (0, width - part.shape[1]), (0, 0)], constant_values=255)
            for part in parts
        ]
        path = f'{args.output_dir}/image{place}_{kind}.png'
        imwrite(np.vstack(whole)[..., ::-1], path, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        print(path)


def outlined(picture: 'np.ndarray', one: 'SegmentAttention') -> 'np.ndarray':
    """The picture at the size of a panel, with the outline of the segment in the image."""
    import cv2
    import numpy as np

    scale = SIDE / min(one.pixels.shape)
    size = [round(side * scale) for side in one.pixels.shape[::-1]]
    mask = cv2.resize(one.pixels.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outline = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    cv2.drawContours(picture, outline, -1, (0, 0, 0), 4)
    return cv2.drawContours(picture, outline, -1, (255, 255, 255), 2)


def heat(one: 'SegmentAttention', kind: str) -> 'np.ndarray':
    """A map from dark to bright, its largest value brightest, with the outline of the segment."""
    import matplotlib
    import numpy as np
    from cmt_deeplab.geometry import nearest_pixels

    values = one.maps[kind]
    sides = zip(one.pixels.shape, one.padded, values.shape)
    rows, columns = (nearest_pixels(*side) for side in sides)
    colors = matplotlib.colormaps['inferno'](values / values.max())[..., :3]
    return outlined((255 * colors).astype(np.uint8)[rows[:, None], columns], one)


def report(models: list[Model], images: int) -> None:
    """Print the figures by the size of the segments."""
    from cmt_deeplab.analysis.attention import SIZES

    figures = defaultdict(list)
    for place in range(min(images, len(models[0].images))):
        for both in found_by_all(models, place):
            size = next(end for end in SIZES if both[0].share <= end)
            for model, one in zip(models, both):
                for kind in one.maps:
                    for end in (size, math.inf):
                        values = one.inside(kind), one.covered(kind)
                        figures[end, model.name, kind].append(values)
    print('| size of the segment | layer | map | segments | inside | covers |')
    print('|---|---|---|--:|--:|--:|')
    for (end, name, kind), values in sorted(figures.items()):
        size = f'up to {end:.0%} of the image' if end <= 1 else 'all'
        inside, covers = (sum(column) / len(values) for column in zip(*values))
        print(f'| {size} | {name} | {kind} | {len(values)} | {inside:.1%} | {covers:.1%} |')


@report_user_errors()
def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.work_dir = args.work_dir or folder  # of the log
        models = [Model(args, *pair) for pair in args.models]
        if len({model.name for model in models}) < len(models):
            for number, model in enumerate(models, start=1):
                model.name += f' {number}'
        if len({model.images for model in models}) > 1:
            raise UserError('The two configs have different test sets: give both the same data.')
        number = len(models[0].images)
        for place in args.images:
            if not 0 <= place < number:
                raise UserError(
                    f'Image {place} is not in the test set, which has images 0 to {number - 1}.'
                )
        for place in args.images:
            draw(models, place, args)
        if args.data_set:
            report(models, args.data_set)


if __name__ == '__main__':
    main()
