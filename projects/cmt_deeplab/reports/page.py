"""What stands on the page about a run, and the file: no other file, no script and no network."""

import base64
import io
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from mmengine.runner import BaseLoop, Runner
from PIL import Image

from cmt_deeplab.analysis.lost_pq import MEANINGS, main_cause
from cmt_deeplab.analysis.saved.charts import COLORS, FOUND
from cmt_deeplab.analysis.saved.texts import lost_sentence
from cmt_deeplab.analysis.segment_rows import all_segments
from cmt_deeplab.analysis.segment_tables import by_size, quantile_edges
from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.evaluation import PanopticQualityMetric

from .facts import run_facts, skipped_iterations, warnings_of
from .history import curves, logged

FOLDED = 20  # classes from which on their table is folded
HIDDEN = 20  # points of PQ between things and stuff that the overall figure hides
GROUPS = {'All': 'all classes', 'Things': 'things', 'Stuff': 'stuff'}
THRESHOLDS = 'the thresholds of the merge (model.postprocess, in models of mmdet model.test_cfg)'
ADVICE = {
    'merged': 'train longer, predict at a finer stride, or give the network larger images',
    'split': 'train longer, or let the training crops hold whole segments',
    'missed': f'train longer, lower {THRESHOLDS}, or give the network larger images where the '
    'missed segments are small',
    'spurious': f'train longer, or raise {THRESHOLDS}',
    'wrong class': 'add examples of the classes that are mistaken for others, or merge classes '
    'that look alike',
    'loose': 'predict at a finer stride, or give the network larger images',
}


def data_uri(picture: np.ndarray | str) -> str:
    """The source of an ``<img>``: of an RGB picture (H, W, 3) uint8, or of the text of an SVG.

    A picture is a PNG or a JPEG, whichever is smaller.
    """
    if isinstance(picture, str):
        kind, data = 'svg+xml', picture.encode()
    else:
        forms = {}
        for form, options in dict(png={}, jpeg=dict(quality=88)).items():
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, form, **options)
            forms[form] = buffer.getvalue()
        kind = min(forms, key=lambda form: len(forms[form]))
        data = forms[kind]
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def verdicts(lost: Mapping[str, dict]) -> list[tuple[str, str]]:
    """What costs the most PQ of things and of stuff, each with what helps."""
    causes = [main_cause(lost[group]) for group in ('Things', 'Stuff')]
    helps = [ADVICE[cause] for cause in causes if cause]
    return list(zip(lost_sentence(lost).splitlines(), helps))


def size_rows(metric: PanopticQualityMetric, meta: Mapping) -> list[dict]:
    """The figures of the segments by size, for the quarters of the areas of these data."""
    is_thing = {k: name in meta['thing_classes'] for k, name in enumerate(meta['classes'])}
    segments = all_segments(metric.images.values())
    return by_size(segments, is_thing, quantile_edges(segments))


def next_steps(work_dir: Path) -> list[tuple[str, str]]:
    """Those of any run, as pairs of a sentence and a command."""
    folder = shlex.quote(str(work_dir))
    return [
        ('Predict images of yours', f'cmt-deeplab predict {folder} IMAGES'),
        ('Make this page again, of the best checkpoint', f'cmt-deeplab report {folder}'),
    ]


def write_page(runner: Runner, loop: BaseLoop, metric: PanopticQualityMetric, *, hook: Any) -> Path:
    """Write the page about the evaluation that ``metric`` has just made in ``loop``."""
    work_dir = Path(runner.work_dir)
    training, validation = logged(work_dir)
    charts, parts = curves(training, validation)
    meta, figures, lost = loop.dataloader.dataset.metainfo, metric.figures, metric.lost_pq
    config = runner.cfg.filename
    model = unwrapped(runner.model)
    path = work_dir / 'report.html'
    iteration = runner.iter if hook.started else hook.iteration
    parameters = sum(p.numel() for p in model.parameters())
    lead = f'{type(model).__name__} with {parameters / 1e6:.1f} million parameters'
    if iteration is not None:
        skipped = skipped_iterations(runner)
        lead += f' after {iteration - skipped:,} iterations'
        lead += f' ({skipped:,} more were skipped to end in time)' if skipped else ''
    number = len(loop.dataloader.dataset)
    lead += f', tested on {number} image{"s" * (number > 1)}.'
    name = Path(config or '').stem
    title = hook.title or (work_dir.name if name in ('', 'config') else name)
    gap = 100 * abs(figures['Things']['pq'] - figures['Stuff']['pq'])
    both = figures['Things']['n'] and figures['Stuff']['n']
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['data_uri'] = data_uri
    page = environment.get_template('report.html.j2').render(
        title=title,
        lead=lead,
        figures=figures,
        groups={k: name for k, name in GROUPS.items() if figures[k]['n'] or k == 'All'},
        hidden=both and gap > HIDDEN,
        lost=lost,
        meanings=MEANINGS,
        verdicts=verdicts(lost),
        warnings=warnings_of(runner, loop),
        charts=charts,
        parts=parts,
        examples=hook.examples,
        meta=meta,
        folded=len(meta['classes']) > FOLDED,
        facts=run_facts(runner, loop, training, started=hook.started),
        sizes=size_rows(metric, meta),
        colors=COLORS,
        found=FOUND,
        next_steps=next_steps(work_dir) if hook.next_steps is None else hook.next_steps,
    )
    path.write_text(page, encoding='utf-8')
    return path
