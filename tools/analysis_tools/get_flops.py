"""Trainable parameters and multiply-accumulates of a network at inference, by part.

    python tools/analysis_tools/get_flops.py CONFIG --shape H W [--json OUT]

CONFIG is a config of this project or any of mmdet's, by its path or as mmdet::FOLDER/FILE.py. No
data set, no weights, no compiled operators and no GPU are needed. What serves training alone does
not count; it is listed below the table, up to the number that mmdet's tool of this name prints.
OUT gets {"params": int, "macs": int, "parts": {name: {"params": int, "macs": int}},
"training_only": {module: int}, "frozen": int}.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import (
    config_file,
    output_file,
    parser_of_config,
    positive,
    report_user_errors,
)

if TYPE_CHECKING:
    from cmt_deeplab.analysis.flops import NetworkCost


def parse_args() -> argparse.Namespace:
    parser = parser_of_config(__doc__)
    parser.add_argument(
        '--shape',
        type=positive,
        nargs=2,
        required=True,
        metavar=('H', 'W'),
        help='size of the network input, used as it is',
    )
    parser.add_argument('--json', type=output_file, metavar='OUT', help='file for the figures')
    args = parser.parse_args()
    args.config = config_file(args.config)
    return args


def table(cost: 'NetworkCost', shape: list[int]) -> str:
    lines = [f'{"part":<16}{"params":>14}{"MACs (G)":>12}']
    for name, row in (*cost.parts.items(), ('total', cost)):
        lines.append(f'{name:<16}{row.params:>14,}{row.macs / 1e9:>12.2f}')
    lines[-1] += f'   at {shape[0]}x{shape[1]}'
    if cost.all_params > cost.params:
        lines.append(
            f"mmdet's get_flops.py counts all {cost.all_params:,} parameters of the model. The "
            'others are not read at inference or are not trained:'
        )
        others = {**cost.training_only, 'frozen, not trained': cost.frozen}
        lines += [f'  {size:>14,}  {name}' for name, size in others.items() if size]
    return '\n'.join(lines)


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.analysis.config_model import load_config
    from cmt_deeplab.analysis.flops import config_cost
    from mmengine.fileio import dump

    config = load_config(args.config, args.cfg_options)
    cost = config_cost(config.model, args.shape)
    print(table(cost, args.shape), flush=True)
    if args.json:
        dump(asdict(cost), args.json, 'json', indent=2)


if __name__ == '__main__':
    main()
