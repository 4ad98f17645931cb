"""The command line of the programs in tools/model_converters/."""

import argparse

from cmt_deeplab_cli.arguments import (
    add_config_options,
    config_file,
    output_file,
    report_user_errors,
)


@report_user_errors()
def convert(description: str, code_base: str) -> None:
    """Parses ``SRC DST --config CONFIG [--cfg-options ...]``, converts, and prints what was found,
    what was not used and what was not filled.

    ``code_base`` is the name of the source among those of ``cmt_deeplab.converters``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', help='checkpoint of the source')
    parser.add_argument(
        'dst', type=output_file, help='file to write, .safetensors (with a .json beside it) or .pth'
    )
    parser.add_argument(
        '--config', required=True, help='file or name of the config whose network takes the weights'
    )
    add_config_options(parser)
    args = parser.parse_args()
    args.config = config_file(args.config)
    from cmt_deeplab import converters
    from cmt_deeplab.analysis.config_model import load_config

    config = load_config(args.config, args.cfg_options)
    conversion = converters.convert_file(args.src, args.dst, config, getattr(converters, code_base))
    print(f'{conversion.report()}\nwritten: {args.dst}')
