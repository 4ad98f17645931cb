"""Evaluate saved predictions: PQ, where it is lost, by size, boundary PQ, scores, intervals.

    python tools/analysis_tools/eval_metric.py TRUTH PREDICTIONS [--against PREDICTIONS_OF_ANOTHER]

TRUTH is a config (file or name), a panoptic JSON or a folder of own data. PREDICTIONS are what
PanopticQualityMetric writes with outfile_prefix, or what `cmt-deeplab predict` writes. The figures
are those of the run to the last digit. See docs/looking.md.
"""

import json
import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import output_file, parser_of_saved, report_user_errors


@report_user_errors()
def main() -> None:
    parser = parser_of_saved(__doc__)
    parser.add_argument('--against', metavar='PREDICTIONS', help='a second model to compare')
    parser.add_argument('--classwise', action='store_true', help='print a line for each class')
    parser.add_argument('--json', type=output_file, metavar='OUT', help='file for all tables')
    args = parser.parse_args()
    from cmt_deeplab_cli.saved import bootstrap, evaluate, find_truth, texts

    truth = find_truth(args.truth, args.seg_prefix)
    evaluation = evaluate(truth, args.predictions)
    print(texts.evaluation_text(evaluation, classwise=args.classwise), flush=True)
    content = evaluation.to_dict()
    if args.against:
        other = evaluate(truth, args.against)
        found = bootstrap([evaluation.images, other.images], evaluation.kinds)
        print(f'\nFirst: {args.predictions}\nSecond: {args.against}')
        print(texts.comparison_text(found, [evaluation.figures, other.figures]))
        content.update(against=found | dict(figures=other.figures))
    if args.json:
        Path(args.json).write_text(json.dumps(content), encoding='utf-8')


if __name__ == '__main__':
    main()
