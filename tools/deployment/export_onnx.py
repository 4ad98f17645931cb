"""Export a network to ONNX: ``python tools/deployment/export_onnx.py CONFIG CHECKPOINT OUT.onnx``.

With ``--images`` the file is run by onnxruntime on the CPU, and its segments are compared with
PyTorch's; the exit status is 1 where they are not the same.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

# for a clone of the repository that is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import (  # noqa: E402
    UserError,
    config_file,
    output_file,
    positive,
    report_user_errors,
    require_checkpoint,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Export the network of a model to ONNX')
    parser.add_argument('config', help='file or name of a config')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', metavar='OUT.onnx', type=output_file, help='file to write')
    parser.add_argument(
        '--size',
        nargs=2,
        type=positive,
        metavar=('H', 'W'),
        help='size of the input (default: that of the config)',
    )
    parser.add_argument(
        '--images', nargs='+', metavar='FILE', help='images, on which to compare with PyTorch'
    )
    args = parser.parse_args()
    args.config = config_file(args.config)
    require_checkpoint(args.checkpoint)
    return args


@report_user_errors()
def main() -> int:
    args = parse_args()
    from cmt_deeplab.inference.exported import ExportedNetwork, compare, export_onnx
    from cmt_deeplab.inference.network import load_network
    from cmt_deeplab.models.detectors import CMTDeepLab

    network = load_network(args.config, args.checkpoint, 'cpu')
    if not isinstance(network.model, CMTDeepLab):
        raise UserError(
            f'Only a CMTDeepLab is exported, and this is a {type(network.model).__name__}.'
        )
    preprocessor = network.model.data_preprocessor
    size = tuple(args.size or preprocessor.size or ())
    if not size:
        raise UserError('The config has no data_preprocessor.size: give --size H W.')
    if size != preprocessor.padded(size):
        larger = ' '.join(map(str, preprocessor.padded(size)))
        raise UserError(f'The model has no inputs of {size[0]}x{size[1]}: give --size {larger}.')
    preprocessor.size, network = size, replace(network, image_size=size)
    export_onnx(network.model, args.out, size)
    print(f'{args.out}: input (1, 3, {size[0]}, {size[1]})')
    if not args.images:
        return 0
    found = compare(network, ExportedNetwork(args.out), args.images)
    for each in found:
        print(
            f'{each.name}: {each.segments} segments, '
            f'{"the same" if each.same else "others in onnxruntime"}, '
            f'{each.other_pixels} of {each.pixels} pixels differ'
        )
    same = sum(each.same for each in found)
    print(f'The segments of onnxruntime are those of PyTorch on {same} of {len(found)} images.')
    return int(same < len(found))


if __name__ == '__main__':
    sys.exit(main())
