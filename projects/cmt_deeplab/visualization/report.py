"""One self-contained page about a run: figures, curves, pictures, what was run."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from cmt_deeplab.errors import UserError

from .report_style import STYLE


@dataclass(frozen=True)
class Figures:
    """Panoptic quality of a set of classes, in percent, averaged over ``n`` classes."""

    pq: float
    sq: float
    rq: float
    n: int = 1


@dataclass(frozen=True)
class Example:
    """One image: a caption, what was seen and predicted, and the assignment of each layer. Pictures are ``(H, W, 3)`` uint8 RGB."""

    caption: str
    pictures: Sequence[tuple[str, np.ndarray]]  # (title, picture)
    assignments: Sequence[tuple[str, np.ndarray]] = ()


@dataclass(frozen=True)
class Report:
    """Everything the page says. ``charts`` are ``<svg>`` texts; ``run`` is a list of (what, value); ``next_steps`` of (what, command)."""

    title: str
    summary: str
    overall: Mapping[str, Figures]  # 'All', 'Things', 'Stuff'
    per_class: Mapping[str, Figures]
    thing_classes: Sequence[str] = ()
    charts: Sequence[str] = ()
    small_charts: Sequence[str] = ()
    examples: Sequence[Example] = ()
    run: Sequence[tuple[str, str]] = ()
    next_steps: Sequence[tuple[str, str]] = ()
    notes: dict[str, str] = field(
        default_factory=dict
    )  # a sentence under a section's heading, by section


def png_data_uri(picture: np.ndarray) -> str:
    """``data:image/png;base64,...`` of an RGB picture ``(H, W, 3)`` uint8."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise UserError(f'A picture must be (H, W, 3) uint8, not {picture.shape} {picture.dtype}.')
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'PNG', optimize=True)
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode('ascii')


def write_report(report: Report, path: str | Path) -> Path:
    """Writes the page and returns its absolute path. It needs no other file, no script and no network."""
    if 'All' not in report.overall:
        raise UserError(
            f"The report's overall figures have the rows {sorted(report.overall)}: they need a row 'All'."
        )
    sections = [
        _head(report),
        _curves(report),
        _examples(report),
        _classes(report),
        _run(report),
        _next(report),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(report.title)}: PQ {report.overall["All"].pq:.2f}</title><style>{STYLE}</style></head><body><main>\n'
        + '\n'.join(s for s in sections if s)
        + '\n</main></body></html>\n'
    )
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding='utf-8')
    return path


def _section(report: Report, heading: str, body: str) -> str:
    note = f'<p class="note">{escape(report.notes[heading])}</p>' if heading in report.notes else ''
    return f'<section><h2>{escape(heading)}</h2>{note}{body}</section>'


def _head(report: Report) -> str:
    rows = ''.join(
        f'<tr><th scope="row">{escape(name)}</th><td>{f.pq:.2f}</td><td>{f.sq:.2f}</td><td>{f.rq:.2f}</td><td>{f.n}</td></tr>'
        for name, f in report.overall.items()
    )
    return (
        f'<header><h1>{escape(report.title)}</h1><p class="lead">{escape(report.summary)}</p><div class="headline">'
        f'<div class="figure"><span class="value">{report.overall["All"].pq:.2f}</span><span class="unit">PQ</span></div>'
        '<div class="scroll"><table class="figures"><thead><tr><th></th><th>PQ</th><th>SQ</th><th>RQ</th><th>classes</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div>'
        '<p class="note">Panoptic quality is SQ × RQ: how well the found segments fit (mean IoU of matches) times how many are found '
        '(F1 score of the matches). 100 is perfect.</p></div></header>'
    )


def _curves(report: Report) -> str:
    if not report.charts:
        return ''
    body = (
        '<div class="charts">' + ''.join(f'<figure>{c}</figure>' for c in report.charts) + '</div>'
    )
    if report.small_charts:
        body += (
            '<details open><summary>Parts of the loss</summary><div class="charts small">'
            + ''.join(f'<figure>{c}</figure>' for c in report.small_charts)
            + '</div></details>'
        )
    return _section(report, 'Curves', body)


def _picture(title: str, picture: np.ndarray, kind: str) -> str:
    kind = (
        kind if max(picture.shape[:2]) <= 200 else kind + ' smooth'
    )  # small ones are enlarged pixel by pixel
    title = escape(title)
    return f'<figure><img class="{kind}" src="{png_data_uri(picture)}" alt="{title}"><figcaption>{title}</figcaption></figure>'


def _examples(report: Report) -> str:
    cards: list[str] = []
    for example in report.examples:
        wide = ''.join(_picture(t, p, 'picture') for t, p in example.pictures)
        small = ''.join(_picture(t, p, 'assignment') for t, p in example.assignments)
        if small:
            small = (
                f'<h4>Pixel-cluster assignment of each layer</h4><div class="layers">{small}</div>'
            )
        cards.append(
            f'<article><h3>{escape(example.caption)}</h3><div class="pictures">{wide}</div>{small}</article>'
        )
    return _section(report, 'Pictures', ''.join(cards)) if cards else ''


def _classes(report: Report) -> str:
    things = frozenset(report.thing_classes)
    rows = ''.join(
        f'<tr><th scope="row">{escape(name)}</th><td class="kind">{"thing" if name in things else "stuff"}</td>'
        f'<td class="bar"><span style="width:{max(0.0, min(100.0, f.pq)):.1f}%" class="{"thing" if name in things else "stuff"}"></span></td>'
        f'<td>{f.pq:.2f}</td><td>{f.sq:.2f}</td><td>{f.rq:.2f}</td></tr>'
        for name, f in report.per_class.items()
    )
    table = (
        '<div class="scroll"><table class="figures classes"><thead>'
        '<tr><th></th><th></th><th></th><th>PQ</th><th>SQ</th><th>RQ</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div>'
    )
    return _section(report, 'Classes', table) if rows else ''


def _run(report: Report) -> str:
    rows = ''.join(f'<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>' for k, v in report.run)
    return _section(report, 'What was run', f'<dl>{rows}</dl>') if rows else ''


def _next(report: Report) -> str:
    rows = ''.join(
        f'<li>{escape(what)}<pre><code>{escape(command)}</code></pre></li>'
        for what, command in report.next_steps
    )
    return _section(report, 'Next steps', f'<ol>{rows}</ol>') if rows else ''
