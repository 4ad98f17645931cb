"""A folder with the tables and charts of an evaluation, its best and worst images, and a page."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from cmt_deeplab.analysis.lost_pq import CAUSES
from cmt_deeplab.analysis.segment_rows import FN, FP, TP
from cmt_deeplab.own_data.panoptic_folder import PanopticSplit
from cmt_deeplab.remarks import ImageScore

from .charts import calibration_chart, confusion_chart, lost_chart, size_chart
from .evaluation import SavedEvaluation
from .texts import RANGES, evaluation_text, lost_sentence

STYLE = """:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: auto; padding: 1rem }
img { max-width: 100%; background: white; border-radius: .3rem }
pre { overflow-x: auto; font-size: .8rem }
figure { margin: 1.5rem 0 } figcaption { margin-bottom: .3rem }"""


def best_and_worst(images: Sequence[ImageScore], most: int) -> dict[str, list[ImageScore]]:
    """At most ``most`` images with the highest PQ and as many with the lowest; none is in both.

    Images without a segment that counts are left out.
    """
    ranked = sorted((image for image in images if len(image.segments)), key=lambda i: -i.quality)
    most = min(most, (len(ranked) + 1) // 2)
    return dict(good=ranked[:most], bad=ranked[most:][::-1][:most])


def words_on(image: ImageScore) -> str:
    """PQ of an image, its counts, and the causes of what is wrong."""
    kinds = np.bincount(image.segments['kind'], minlength=3)
    causes = image.segments['cause'][image.segments['kind'] != TP]
    number = np.bincount(causes, minlength=len(CAUSES))
    order = np.argsort(-number, kind='stable')
    wrong = ', '.join(f'{number[k]} {CAUSES[k]}' for k in order if number[k])
    words = f'PQ {image.quality:.1f}: {kinds[TP]} right, {kinds[FP]} wrong, {kinds[FN]} not found'
    return f'{words} ({wrong})' if wrong else words


def write_page(
    evaluation: SavedEvaluation,
    truth: PanopticSplit,
    predictions: str,
    folder: Path,
    *,
    most: int = 20,
) -> Path:
    """Write ``index.html``, ``analysis.json``, charts, and pictures in ``good/`` and ``bad/``."""
    from .pictures import SavedPictures  # loads torch, which the other tables do not need

    charts = dict(lost_pq=lost_chart(evaluation.lost))
    charts |= {f'size_{k}': size_chart(rows, RANGES[k]) for k, rows in evaluation.sizes.items()}
    if evaluation.calibration:
        charts['calibration'] = calibration_chart(evaluation.calibration)
    for unit, matrix in evaluation.confusion.items():
        title = f'Confusion of {unit}'
        charts[f'confusion_{unit}'] = confusion_chart(matrix, evaluation.names, title)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in charts.items():
        figure.savefig(folder / f'{name}.png', dpi=110)
    (folder / 'analysis.json').write_text(json.dumps(evaluation.to_dict()), encoding='utf-8')

    drawn, parts = SavedPictures(evaluation, truth, predictions), []
    for name, images in best_and_worst(evaluation.images, most).items():
        parts.append(f'<h2>{dict(good="Best", bad="Worst")[name]} images</h2>')
        (folder / name).mkdir(exist_ok=True)
        for place, image in enumerate(images, start=1):
            file = f'{name}/{place:02d}_{image.quality:.1f}.jpg'
            cv2.imwrite(str(folder / file), drawn.draw(image.image_id)[..., ::-1])
            words = f'image {escape(str(image.image_id))}, {words_on(image)}'
            parts.append(
                f'<figure><figcaption>{words}</figcaption>'
                f'<img src="{file}" alt="{words}" loading="lazy"></figure>'
            )
    shown = {
        name: f'<img src="{name}.png" alt="{name.replace("_", " ")}" loading="lazy">\n'
        for name in charts
    }
    confused = ''.join(shown.pop(f'confusion_{unit}') for unit in evaluation.confusion)
    parts.append(f'<h2>Confusion of classes</h2>\n{confused}')
    page = folder / 'index.html'
    page.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>Where PQ is lost</title><style>{STYLE}</style>\n'
        f'<h1>PQ {100 * evaluation.figures["All"]["pq"]:.1f}: where it is lost</h1>\n'
        f'<p>{escape(lost_sentence(evaluation.lost))}</p>\n{"".join(shown.values())}\n'
        f'<pre>{escape(evaluation_text(evaluation))}</pre>\n' + '\n'.join(parts) + '</html>\n',
        encoding='utf-8',
    )
    return page
