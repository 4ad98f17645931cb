"""Writes the weights of a checkpoint as safetensors, with a JSON file of classes and origin.

    python tools/model_converters/publish_model.py work_dirs/NAME/iter_150000.pth [OUT]

This writes OUT-<sha8>.safetensors and OUT-<sha8>.json, with the first digits of the checksum; OUT
is by default the checkpoint without its ending. The weights are those that the evaluation used, so
with EMAHook the averages. Without optimizer and logs, and in a format that cannot hold code, they
can be handed on: load_from, init_cfg, test.py and mmdet's inference API read them. The config lies
in the JSON file as text that nothing reads back.
"""

import argparse
import os
import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import output_file, report_user_errors, require_checkpoint


@report_user_errors()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='checkpoint that training or a converter wrote')
    parser.add_argument('out', nargs='?', type=output_file, help='path without the ending')
    args = parser.parse_args()
    require_checkpoint(args.checkpoint)
    from cmt_deeplab.checkpoints.published import publish

    print(f'written: {publish(args.checkpoint, args.out or os.path.splitext(args.checkpoint)[0])}')


if __name__ == '__main__':
    main()
