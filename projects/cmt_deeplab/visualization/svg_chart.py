"""Line charts as inline SVG: sharp at every size, readable without scripts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from cmt_deeplab.errors import UserError

_INK, _GRID, _MUTED = '#1c2430', '#e6e9ee', '#667080'


@dataclass(frozen=True)
class Series:
    """One line of a chart: points (x, y), a name for its end, a color; ``faint`` ones are thin and have no name at the end."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    faint: bool = False
    dots: bool = False


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that cover ``low`` to ``high``, about ``count`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f'An axis cannot run from {low} to {high}: the values must be finite.')
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def smooth(points: Sequence[tuple[float, float]], share: float = 0.05) -> list[tuple[float, float]]:
    """Centerd moving mean of y over a window of ``share`` of the points; the window shrinks at both ends, so the ends do not lag."""
    half = int(len(points) * share / 2)
    result = []
    for i, (x, _) in enumerate(points):
        reach = min(half, i, len(points) - 1 - i)
        window = points[i - reach : i + reach + 1]
        result.append((x, sum(y for _, y in window) / len(window)))
    return result


def _label(value: float) -> str:
    return (
        f'{value:,.0f}'.replace(',', ' ')
        if abs(value) >= 1000 or value == int(value)
        else f'{value:g}'
    )


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_note: Callable[[float], str] | None = None,
    y_limits: tuple[float, float] | None = None,
    y_format: str = '.2f',
    width: int = 500,
    height: int = 310,
) -> str:
    """``<svg>`` with axes, grid, one line a series and its last value at its end. ``x_note`` writes a second line under each x tick.

    Points that are not finite leave a gap. A chart without any point says so instead of being empty.
    """
    finite = [
        (s, [p for p in s.points if math.isfinite(p[0]) and math.isfinite(p[1])]) for s in series
    ]
    points = [p for _, kept in finite for p in kept]
    head = (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="system-ui, sans-serif" font-size="12.5">'
    )
    if not points:
        return (
            f'{head}<text x="{width / 2}" y="{height / 2}" text-anchor="middle" fill="{_MUTED}">'
            f'{escape(title)}: nothing was logged</text></svg>'
        )
    names = [s.name for s, kept in finite if kept and not s.faint]
    left, top = 52, 30
    right, bottom = (
        width - 24 - 7.4 * max((len(n) for n in names), default=0) - 38,
        height - (58 if x_note else 44),
    )
    xs = nice_ticks(
        min(0.0, min(p[0] for p in points)),
        max(p[0] for p in points),
        max(2, int((right - left) / 75)),
    )
    ys = nice_ticks(*(y_limits or (min(0.0, min(p[1] for p in points)), max(p[1] for p in points))))
    x_low, x_high = xs[0], max(p[0] for p in points)
    x_high = x_high if x_high > x_low else xs[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_low) / (x_high - x_low) * (right - left),
            bottom - (y - ys[0]) / (ys[-1] - ys[0]) * (bottom - top),
        )

    out = [
        head,
        f'<text x="{left}" y="16" font-weight="600" fill="{_INK}">{escape(y_label)}</text>',
    ]
    for y in ys:
        row = place(x_low, y)[1]
        out.append(
            f'<path d="M{left} {row:.1f}H{right:.1f}" stroke="{_GRID if y != ys[0] else "#9aa3af"}"/>'
            f'<text x="{left - 7}" y="{row + 4.2:.1f}" text-anchor="end" fill="{_MUTED}">{_label(y)}</text>'
        )
    for x in (x for x in xs if x_low <= x <= x_high):
        column = place(x, ys[0])[0]
        out.append(
            f'<path d="M{column:.1f} {bottom}v4" stroke="#9aa3af"/>'
            f'<text x="{column:.1f}" y="{bottom + 18}" text-anchor="middle" fill="{_MUTED}">{_label(x)}</text>'
        )
        if x_note:
            out.append(
                f'<text x="{column:.1f}" y="{bottom + 33}" text-anchor="middle" fill="#9aa3af" font-size="11">'
                f'{escape(x_note(x))}</text>'
            )
    out.append(
        f'<text x="{(left + right) / 2:.1f}" y="{height - 6}" text-anchor="middle" fill="{_MUTED}">{escape(x_label)}</text>'
    )
    ends = []
    for s, kept in finite:
        if not kept:
            continue
        path, pen = [], 'M'
        for x, y in s.points:
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = 'M'
                continue
            path.append('{}{:.1f} {:.1f}'.format(pen, *place(x, min(max(y, ys[0]), ys[-1]))))
            pen = 'L'
        out.append(
            f'<path d="{"".join(path)}" fill="none" stroke="{s.color}" stroke-width="{1 if s.faint else 2.2}" '
            f'stroke-opacity="{0.3 if s.faint else 1}" stroke-linejoin="round" stroke-linecap="round"/>'
        )
        if s.dots:
            out.extend(
                '<circle cx="{:.1f}" cy="{:.1f}" r="2.8" fill="{}"/>'.format(*place(*p), s.color)
                for p in kept
            )
        if not s.faint:
            ends.append([place(*kept[-1])[1], s, kept[-1][1]])
    for end, s, value in _spread(ends, 15.0, top, bottom):
        name = f'{s.name} {value:{y_format}}'.strip()
        out.append(
            f'<text x="{right + 9:.1f}" y="{end + 4.2:.1f}" fill="{s.color}" font-weight="600">{escape(name)}</text>'
        )
    return ''.join(out) + '</svg>'


def _spread(ends: list[list], gap: float, top: float, bottom: float) -> list[list]:
    """Move the labels at the line ends apart until none covers another."""
    ends = sorted(ends, key=lambda e: e[0])
    for previous, current in zip(ends, ends[1:]):
        current[0] = max(current[0], previous[0] + gap)
    limit = bottom
    for end in reversed(ends):
        end[0] = max(top, min(end[0], limit))
        limit = end[0] - gap
    return ends
