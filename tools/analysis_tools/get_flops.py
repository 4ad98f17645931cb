"""Trainable parameters and multiply-accumulates of a network at inference, by part.

    python tools/analysis_tools/get_flops.py CONFIG --shape H W [--json OUT]

CONFIG is a config of this project or any of mmdet's. No data set, no weights and no GPU are needed. Heads that serve training alone do not
count. OUT gets {"params": int, "macs": int, "parts": {name: {"params": int, "macs": int}}}.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2] / 'projects')
)  # a clone that is not installed

import cmt_deeplab  # noqa: E402,F401  isort: skip  # first: without compiled operators mmdet can only be imported after it
from cmt_deeplab.analysis.flops import NetworkCost, config_cost, load_config  # noqa: E402
from cmt_deeplab.errors import report_user_errors  # noqa: E402
from mmengine.config import DictAction  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        required=True,
        metavar=('H', 'W'),
        help='size of the network input, used as it is',
    )
    parser.add_argument('--json', metavar='OUT', help='file for the figures')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='key=value overrides of the config'
    )
    return parser.parse_args()


def table(cost: NetworkCost, shape: list) -> str:
    lines = [f'{"part":<16}{"params":>14}{"MACs (G)":>12}']
    lines += [
        f'{name:<16}{part.params:>14,}{part.macs / 1e9:>12.2f}' for name, part in cost.parts.items()
    ]
    lines.append(
        f'{"total":<16}{cost.params:>14,}{cost.macs / 1e9:>12.2f}   at {shape[0]}x{shape[1]}'
    )
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    with report_user_errors():
        config = load_config(args.config, args.cfg_options)
        cost = config_cost(config.model, args.shape)
    print(table(cost, args.shape))
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(cost.as_dict(), indent=2) + '\n')


if __name__ == '__main__':
    main()
