"""The command line of the programs in tools/model_converters/."""

import argparse

from cmt_deeplab.analysis.config_model import add_config_options, load_config
from cmt_deeplab.errors import output_file, report_user_errors

from .convert import convert_file
from .table import CodeBase


def run(description: str, code_base: CodeBase) -> None:
    """Parses ``SRC DST --config CONFIG [--cfg-options ...]``, converts, and prints what was found,
    what was not used and what was not filled.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', help='checkpoint of the source')
    parser.add_argument(
        'dst', type=output_file, help='file to write, .safetensors (with a .json beside it) or .pth'
    )
    parser.add_argument(
        '--config', required=True, help='config of the network that takes the weights'
    )
    add_config_options(parser)
    args = parser.parse_args()
    with report_user_errors():
        config = load_config(args.config, args.cfg_options)
        conversion = convert_file(args.src, args.dst, config, code_base)
    print(f'{conversion.report()}\nwritten: {args.dst}')
