"""A page in the browser: drop an image, see its segments, and watch its clusters form.

    python tools/demo/app.py MODEL

MODEL is a checkpoint, the work dir of a training, an .onnx file, or a config with --weights. Only
this computer can open the page, unless --host names another address: then everybody who reaches
that address can use the model, without a password. Images stay on this computer, in a temporary
folder that is removed at the end.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

# For a clone that is not installed, and for the files beside this one.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))
sys.path.insert(0, str(Path(__file__).parent))

from cmt_deeplab_cli.arguments import (
    positive,
    report_user_errors,
    require_checkpoint,
    trained_model,
)

LOOPBACK = '127.0.0.1'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'model', metavar='MODEL', help='checkpoint, work dir, .onnx file, or config'
    )
    parser.add_argument('--weights', metavar='FILE', help='checkpoint, if MODEL is a config')
    parser.add_argument('--device', help='cpu or cuda (default: the GPU, if any)')
    parser.add_argument(
        '--host', default=LOOPBACK, help=f'address of the page (default: {LOOPBACK})'
    )
    parser.add_argument('--port', type=int, help='(default: the first free one from 7860 on)')
    parser.add_argument('--open', action='store_true', help='open the page in a browser')
    parser.add_argument('--max-megabytes', type=positive, default=30, help='of an image file (30)')
    parser.add_argument('--max-megapixels', type=positive, default=30, help='of an image (30)')
    args = parser.parse_args()
    args.model = trained_model(args.model)
    if args.weights:
        require_checkpoint(args.weights)
    return args


@report_user_errors()
def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix='cmt-deeplab-demo-') as folder:
        os.environ.update(  # before gradio is imported, which reads them
            GRADIO_ANALYTICS_ENABLED='False', GRADIO_TEMP_DIR=folder, GRADIO_ALLOWED_PATHS=''
        )
        from cmt_deeplab.inference import PanopticInferencer
        from demo_page import build_page, launch
        from demo_view import Limits

        limits = Limits(megabytes=args.max_megabytes, megapixels=args.max_megapixels)
        inferencer = PanopticInferencer(args.model, weights=args.weights, device=args.device)
        page = build_page(inferencer, Path(args.weights or args.model).name, limits)
        launch(page, limits, host=args.host, port=args.port, open_browser=args.open)


if __name__ == '__main__':
    main()
