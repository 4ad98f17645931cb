"""Confusion of the classes in saved predictions, by pixels and by segments.

    python tools/analysis_tools/confusion_matrix.py TRUTH PREDICTIONS SAVE_DIR

TRUTH and PREDICTIONS are those of eval_metric.py. SAVE_DIR gets confusion_pixels.png,
confusion_segments.png and confusion.json with the numbers. Rows are true classes, columns predicted
ones; the last is void, or a segment without a partner. See docs/looking.md.
"""

import json
import sys
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import UserError, parser_of_saved, report_user_errors


@report_user_errors()
def main() -> None:
    parser = parser_of_saved(__doc__)
    parser.add_argument('save_dir', metavar='SAVE_DIR', type=Path)
    parser.add_argument('--color-theme', default='plasma', help='color map of matplotlib')
    args = parser.parse_args()
    from cmt_deeplab_cli.saved import charts, evaluate, find_truth, texts
    from matplotlib import colormaps

    if args.color_theme not in colormaps:
        raise UserError(f'matplotlib has no color map {args.color_theme!r}: take viridis, say.')
    evaluation = evaluate(find_truth(args.truth, args.seg_prefix), args.predictions)
    args.save_dir.mkdir(parents=True, exist_ok=True)
    content = dict(classes=[*evaluation.names, 'void'])
    for unit, matrix in evaluation.confusion.items():
        title = f'Confusion of {unit}'
        figure = charts.confusion_chart(matrix, evaluation.names, title, args.color_theme)
        figure.savefig(args.save_dir / f'confusion_{unit}.png', dpi=110)
        content[unit] = matrix.tolist()
    (args.save_dir / 'confusion.json').write_text(json.dumps(content), encoding='utf-8')
    print(texts.confused_lines(evaluation.confused))


if __name__ == '__main__':
    main()
