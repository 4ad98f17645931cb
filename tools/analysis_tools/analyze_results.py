"""Draw the best and the worst images of saved predictions, beside charts of where PQ is lost.

    python tools/analysis_tools/analyze_results.py TRUTH PREDICTIONS SHOW_DIR [--topk 20]

TRUTH and PREDICTIONS are those of eval_metric.py. SHOW_DIR gets index.html with everything,
analysis.json with the tables, one PNG per chart, and the pictures in good/ and bad/.
See docs/looking.md.
"""

import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import parser_of_saved, positive, report_user_errors


@report_user_errors()
def main() -> None:
    parser = parser_of_saved(__doc__)
    parser.add_argument('show_dir', metavar='SHOW_DIR', type=Path)
    parser.add_argument('--img-prefix', metavar='DIR', help='images, if not where the truth says')
    parser.add_argument('--topk', type=positive, default=20, help='of the best and of the worst')
    args = parser.parse_args()
    from cmt_deeplab_cli.saved import evaluate, find_truth, page

    truth = find_truth(args.truth, args.seg_prefix, args.img_prefix)
    evaluation = evaluate(truth, args.predictions)
    print(page.lost_sentence(evaluation.lost))
    print(page.write_page(evaluation, truth, args.predictions, args.show_dir, most=args.topk))


if __name__ == '__main__':
    main()
