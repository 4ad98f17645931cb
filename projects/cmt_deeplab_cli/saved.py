"""The evaluation of saved predictions, for scripts: neither torch nor mmdet is imported.

Pictures, and a truth that is a config or a folder of own data, import them when they are asked for.
"""

import sys

from rich.progress import track

from cmt_deeplab_cli.light import without_init

with without_init('cmt_deeplab', 'cmt_deeplab.evaluation', 'cmt_deeplab.own_data'):
    from cmt_deeplab.analysis.saved import charts, page, texts
    from cmt_deeplab.analysis.saved.bootstrap import bootstrap
    from cmt_deeplab.analysis.saved.evaluation import SavedEvaluation, evaluate_saved
    from cmt_deeplab.analysis.saved.sources import find_truth
    from cmt_deeplab.own_data.panoptic_folder import PanopticSplit

__all__ = ['bootstrap', 'charts', 'evaluate', 'find_truth', 'page', 'texts']


def evaluate(truth: PanopticSplit, predictions: str) -> SavedEvaluation:
    """Evaluate, with a bar on a terminal and with warnings in the error output."""
    return evaluate_saved(
        truth,
        predictions,
        warn=lambda sentence: print(f'Warning: {sentence}', file=sys.stderr),
        track=lambda images, total: track(images, 'images', total, disable=not sys.stdout.isatty()),
    )
