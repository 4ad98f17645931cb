"""What the scripts of tools/ share: arguments for argparse, and checks with error sentences."""

import argparse
import re
from pathlib import Path
from typing import Any

from cmt_deeplab_cli.light import without_init

with without_init('cmt_deeplab'):
    from cmt_deeplab.config_names import (
        CHECKPOINTS,
        EXPORTED,
        config_and_checkpoint,
        config_file,
        named_configs,
        project_folder,
    )
    from cmt_deeplab.errors import (
        UserError,
        above_zero,
        mistakes_as_user_errors,
        output_file,
        positive,
        report_user_errors,
        require_file,
    )

__all__ = [
    'CHECKPOINTS',
    'UserError',
    'above_zero',
    'add_config_options',
    'add_shared_arguments',
    'config_and_checkpoint',
    'config_file',
    'mistakes_as_user_errors',
    'named_configs',
    'output_file',
    'parser_of_config',
    'parser_of_saved',
    'positive',
    'project_folder',
    'report_user_errors',
    'require_checkpoint',
    'trained_model',
]


class OverridesAction(argparse.Action):
    """Collects ``key=value`` as texts, and refuses those that mmengine cannot read."""

    def __call__(self, parser: Any, namespace: Any, values: list[str], *args: Any) -> None:
        for entry in values:
            key, equals, text = entry.partition('=')
            wrong = None
            if not equals or '' in key.split('.'):
                wrong = 'is not of the form key=value, without blanks'
            elif 'dict(' in text or '{' in text:
                wrong = 'gives a dict: give its entries by keys with dots, or in a config file'
            elif any(text.count(one) != text.count(other) for one, other in ('()', '[]')):
                wrong = 'has a bracket that is not closed, or not opened'
            elif ' ' in text.strip() and not re.search(r'[,(\[]', text):
                wrong = 'has blanks, which mmengine leaves out: give it in a config file'
            if wrong:
                raise argparse.ArgumentError(self, f'{entry} {wrong}.')
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), *values])


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``; ``merge_overrides`` of the package takes its texts."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OverridesAction,
        default=[],
        metavar='KEY=VALUE',
        help='override entries of the config, nested keys with dots, lists as key="[a,b]"',
    )


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that mmdet's train.py and test.py have in common."""
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints (default: work_dirs/NAME_OF_CONFIG)'
    )
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='how the processes were started',
    )
    # torch.distributed.launch passes it, in either spelling, beside the variable LOCAL_RANK
    parser.add_argument('--local_rank', '--local-rank', help=argparse.SUPPRESS)


def parser_of_config(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments of scripts that look at a config alone."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    add_config_options(parser)
    return parser


def parser_of_saved(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments of scripts that evaluate saved predictions."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('truth', metavar='TRUTH', help='config, panoptic JSON or folder of data')
    parser.add_argument('predictions', metavar='PREDICTIONS', help='JSON, folder or prefix')
    parser.add_argument('--seg-prefix', metavar='DIR', help='PNGs of the truth, if elsewhere')
    return parser


def trained_model(name: str) -> str:
    """Check the model that a command is given: a checkpoint, work dir, .onnx file or config.

    Returns:
        The argument itself, or the file of a config.

    Raises:
        MissingFileError: there is no such file or config.
    """
    if name.endswith((*CHECKPOINTS, EXPORTED)):
        require_checkpoint(name)
    elif not Path(name).is_dir():
        return config_file(name)
    return name


def require_checkpoint(path: str) -> None:
    """Check that a checkpoint exists, unless it is an address such as https://... .

    Raises:
        MissingFileError: it does not.
    """
    if '://' not in path:
        require_file(
            path,
            f'The checkpoint {path} does not exist; give the path of a .pth file that training '
            'wrote.',
        )
