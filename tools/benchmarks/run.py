"""Times a part of this project beside another form of the same work.

    python tools/benchmarks/run.py {axial,criterion,data,merge,metric} [options] [--json OUT]

`python tools/benchmarks/run.py SUBJECT --help` shows what is compared and its options.
"""

import argparse
import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

import options
from cmt_deeplab_cli.arguments import output_file, positive, report_user_errors

SUBJECTS = ('axial', 'criterion', 'data', 'merge', 'metric')


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    subparsers = parser.add_subparsers(dest='subject', required=True)
    for name in SUBJECTS:
        source = Path(__file__).with_name(f'{name}.py').read_text(encoding='utf-8')
        description = ast.get_docstring(ast.parse(source))
        subparser = subparsers.add_parser(name, description=description, formatter_class=form)
        getattr(options, name)(subparser)
        subparser.add_argument(
            '--device', default='cpu', help='cpu or cuda, of axial and criterion'
        )
        subparser.add_argument('--runs', type=positive, default=11, help='timed runs of each form')
        subparser.add_argument('--threads', type=positive, default=1, help="torch's threads")
        subparser.add_argument(
            '--json', type=output_file, metavar='OUT', help='file for the figures'
        )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_args(arguments)
    with report_user_errors():
        import cmt_deeplab  # noqa: F401  registers the parts
        import torch
        from harness import measure, table
        from mmengine.fileio import dump

        torch.set_num_threads(args.threads)
        subject = import_module(args.subject).subject(args)
        figures = measure(subject, runs=args.runs, device=args.device)
        result = dict(setting=vars(args), **figures)
        print(table(result), flush=True)
        if args.json:
            dump(result, args.json, 'json', indent=1)
    return result


if __name__ == '__main__':
    main()
