"""Export a model: ``cmt-deeplab export MODEL OUT.onnx``, or OUT.pt2 for ``torch.export``.

Then the file is run on images in onnxruntime, and in OpenVINO and TensorRT if they are installed,
and its segments are compared with PyTorch's. The exit status is 1 if they are not the same.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

# for a clone of the repository that is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import (  # noqa: E402
    UserError,
    output_file,
    positive,
    report_user_errors,
    require_checkpoint,
    require_file,
    trained_model,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Export a model to ONNX or torch.export')
    parser.add_argument('model', help='checkpoint, work dir, or config with --weights')
    parser.add_argument('out', type=output_file, help='file to write, .onnx or .pt2')
    parser.add_argument('--weights', help='checkpoint, if MODEL is a config')
    parser.add_argument(
        '--size',
        nargs=2,
        type=positive,
        metavar=('H', 'W'),
        help='size of the input (default: that of the config)',
    )
    parser.add_argument('--dynamic', action='store_true', help='accept inputs of any size')
    parser.add_argument(
        '--merge',
        action='store_true',
        help='put the merge into the file, which then gives segments',
    )
    parser.add_argument(
        '--images', nargs='+', metavar='FILE', help='images to compare on (default: noise)'
    )
    args = parser.parse_args()
    if not args.out.endswith(('.onnx', '.pt2')):
        raise UserError(
            f'{args.out} does not end with .onnx or .pt2: give it one of these endings.'
        )
    args.model = trained_model(args.model)
    if args.weights:
        require_checkpoint(args.weights)
    for image in args.images or ():
        require_file(image, f'{image} of --images is no file: name images.')
    return args


@report_user_errors()
def main() -> int:
    args = parse_args()
    import numpy as np
    from cmt_deeplab.inference.exporting import compare, export, runtimes
    from cmt_deeplab.inference.network import load_network
    from cmt_deeplab.models.detectors import CMTDeepLab

    network = load_network(args.model, args.weights, 'cpu')
    if not isinstance(network.model, CMTDeepLab):
        raise UserError(
            f'A {type(network.model).__name__} cannot be exported: give a model of this package '
            '(CMTDeepLab).'
        )
    preprocessor = network.model.data_preprocessor
    size = tuple(args.size or preprocessor.size or ())
    if not size:
        raise UserError('The config has no data_preprocessor.size: give --size H W.')
    if size != preprocessor.padded(size):
        larger = ' '.join(map(str, preprocessor.padded(size)))
        raise UserError(f'The model takes no inputs of {size[0]}x{size[1]}: give --size {larger}.')
    preprocessor.size, network = size, replace(network, image_size=size)
    export(network, args.out, size, dynamic=args.dynamic, merged=args.merge)
    print(f'{args.out}: input (1, 3, {size[0]}, {size[1]}){" and others" * args.dynamic}')
    noise = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    images = args.images or [noise]
    if args.dynamic:
        preprocessor.size = None  # so that each image has its own size
    failed = 0
    for runtime, exported in runtimes(args.out):
        if args.dynamic:
            exported.model.data_preprocessor.size = None
        found = segments = 0
        for each in compare(network, exported, images):
            print(
                f'{each.name}: {each.segments} segments, '
                f'{"the same" if each.same else f"others in {runtime}"}, '
                f'{each.other_pixels} of {each.pixels} pixels differ'
            )
            found, segments = found + each.same, segments + each.segments
        if segments or found < len(images):
            print(
                f'The segments of {runtime} are those of PyTorch on {found} of {len(images)} '
                'images.'
            )
        else:
            print(
                f'Nothing was compared with {runtime}, as PyTorch finds no segment there: give '
                '--images in which it finds some.'
            )
        failed += found < len(images)
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
