"""The tables of an evaluation as text for a terminal or a page, in percent."""

from collections.abc import Mapping, Sequence

from cmt_deeplab.analysis.lost_pq import MEANINGS, lost_table, main_cause
from cmt_deeplab.evaluation.pq import figures_table

from .bootstrap import GROUPS
from .evaluation import SavedEvaluation

RANGES = dict(coco="COCO's ranges of areas", quarters='quarters of the areas of these data')


def percent(share: float) -> str:
    return f'{100 * share:.1f}'


def lost_sentence(lost: Mapping[str, dict]) -> str:
    """What costs the most PQ, of things and of stuff."""
    parts = []
    for group in ('Things', 'Stuff'):
        if cause := main_cause(lost[group]):
            share = percent(lost[group]['lost'][cause])
            total = percent(sum(lost[group]['lost'].values()))
            parts.append(
                f'{group}: {share} of the {total} lost points are {cause}: {MEANINGS[cause]}.'
            )
    return '\n'.join(parts)


def size_table(rows: Sequence[dict], title: str) -> str:
    lines = [f'PQ by {title}', f'{"pixels":>18s} | segments     PQ  Things  Stuff', '-' * 53]
    low = 0
    for row in rows:
        high = row['at_most']
        name = f'more than {low}' if high is None else f'{low + 1} to {high}'
        cells = (percent(row[group]['pq']) if row[group]['n'] else '-' for group in GROUPS)
        all_, things, stuff = cells
        lines.append(f'{name:>18s} | {row["segments"]:8d} {all_:>6s} {things:>7s} {stuff:>6s}')
        low = high
    return '\n'.join(lines)


def calibration_table(table: Mapping) -> str:
    lines = [
        f'Scores of {table["n"]} predictions: expected calibration error {percent(table["ece"])}',
        '      score | predictions  mean score  matched',
        '-' * 46,
    ]
    for row in table['bins']:
        if row['n']:
            lines.append(
                f'{row["low"]:4.1f} to {row["high"]:3.1f} | {row["n"]:11d} '
                f'{percent(row["score"]):>11s} {percent(row["matched"]):>8s}'
            )
    return '\n'.join(lines)


def confused_lines(confused: Mapping[str, Sequence[dict]]) -> str:
    lines = []
    for unit, pairs in confused.items():
        words = (f'{p["true"]} taken for {p["predicted"]} ({p["number"]})' for p in pairs[:5])
        lines.append(f'Most confused {unit}: ' + (', '.join(words) or 'none'))
    return '\n'.join(lines)


def evaluation_text(evaluation: SavedEvaluation, *, classwise: bool = False) -> str:
    """All tables."""
    names = evaluation.names if classwise else ()
    boundary = ', '.join(f'{g} {percent(evaluation.boundary[g]["pq"])}' for g in GROUPS)
    spread = ', '.join(
        f'{group} {percent(low)} to {percent(high)}'
        for group, (low, high) in evaluation.intervals.items()
    )
    parts = [
        figures_table(evaluation.figures, names),
        f'95 % interval of PQ: {spread}\nBoundary PQ: {boundary}',
        f'{lost_table(evaluation.lost, names)}\n{lost_sentence(evaluation.lost)}',
        *(size_table(rows, RANGES[name]) for name, rows in evaluation.sizes.items()),
        confused_lines(evaluation.confused),
    ]
    if evaluation.calibration:
        parts.append(calibration_table(evaluation.calibration))
    return '\n\n'.join(parts)


def comparison_text(found: Mapping[str, dict], figures: Sequence[Mapping[str, dict]]) -> str:
    """The result of ``bootstrap`` for two models with their figures."""
    lines = ['          |  first  second  difference  95 % interval    second better', '-' * 67]
    for group, row in found.items():
        one, other = (percent(f[group]['pq']) for f in figures)
        low, high = (f'{100 * end:+.1f}' for end in row['interval'])
        lines.append(
            f'{group:10s}| {one:>6s} {other:>7s} {100 * row["difference"]:+11.1f}  '
            f'{low:>5s} to {high:>5s}   in {100 * row["better"]:3.0f} % of draws'
        )
    return '\n'.join(lines)
