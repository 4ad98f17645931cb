"""The tables of an evaluation as text for a terminal or a page, in percent."""

from collections.abc import Iterable, Mapping, Sequence

from cmt_deeplab.analysis.lost_pq import CAUSES, MEANINGS, lost_table
from cmt_deeplab.evaluation.pq import figures_table

from .bootstrap import FEW_IMAGES, GROUPS
from .evaluation import SavedEvaluation

RANGES = dict(coco="COCO's ranges of areas", quarters='quarters of the areas of these data')
LARGE_SHARE = 0.25  # of the lost PQ; further causes with such a share are named too
MANY_RARE = 0.15  # of the classes; with more rare ones, too few intervals hold in simulations


def percent(share: float) -> str:
    return f'{100 * share:.1f}'


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its columns flush right."""
    rows = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ['  '.join(map(str.rjust, row, widths)) for row in rows]
    return '\n'.join([lines[0], '-' * len(lines[0]), *lines[1:]])


def lost_sentence(lost: Mapping[str, dict]) -> str:
    """What costs the most PQ, of things and of stuff: a line for each group that loses any."""
    lines = []
    for group in ('Things', 'Stuff'):
        shares = lost[group]['lost']
        total = sum(shares.values())
        order = sorted(CAUSES, key=shares.get, reverse=True)
        large = [c for c in order if c == order[0] or shares[c] >= LARGE_SHARE * total]
        words = '; '.join(f'{percent(shares[c])} are {c}: {MEANINGS[c]}' for c in large)
        if total:
            lines.append(f'{group}: of {percent(total)} lost points {words}.')
    return '\n'.join(lines)


def size_table(rows: Sequence[dict], title: str) -> str:
    cells = (
        [
            row['name'],
            str(row['segments']),
            *(percent(row[group]['pq']) if row[group]['n'] else '-' for group in GROUPS),
        ]
        for row in rows
    )
    return f'PQ by {title}\n' + aligned(('pixels', 'segments', 'PQ', 'Things', 'Stuff'), cells)


def calibration_table(table: Mapping) -> str:
    title = f'Scores of {table["n"]} predictions: expected calibration error '
    cells = (
        [f'{row["low"]:.1f} to {row["high"]:.1f}', str(row['n'])]
        + [percent(row[key]) for key in ('score', 'matched')]
        for row in table['bins']
        if row['n']
    )
    header = 'score', 'predictions', 'mean score', 'matched'
    return f'{title}{percent(table["ece"])}\n{aligned(header, cells)}'


def confused_lines(confused: Mapping[str, Sequence[dict]]) -> str:
    lines = []
    for unit, pairs in confused.items():
        words = (f'{p["true"]} taken for {p["predicted"]} ({p["number"]})' for p in pairs[:5])
        lines.append(f'Most confused {unit}: ' + (', '.join(words) or 'none'))
    return '\n'.join(lines)


def interval_text(evaluation: SavedEvaluation) -> str:
    """The intervals of PQ and, where they are too narrow, why."""
    ends = evaluation.intervals.items()
    text = ', '.join(f'{group} {percent(low)} to {percent(high)}' for group, (low, high) in ends)
    rare, number = evaluation.rare_classes
    if rare > MANY_RARE * number:
        text += (
            f'\nThis interval may be too narrow: {rare} of the {number} classes occur in fewer '
            f'than {FEW_IMAGES} images. That of the difference of two models (--against) holds.'
        )
    return f'95 % interval of PQ: {text}'


def evaluation_text(evaluation: SavedEvaluation, *, classwise: bool = False) -> str:
    """All tables."""
    names = evaluation.names if classwise else ()
    boundary = ', '.join(f'{g} {percent(evaluation.boundary[g]["pq"])}' for g in GROUPS)
    parts = [
        figures_table(evaluation.figures, names),
        f'{interval_text(evaluation)}\nBoundary PQ: {boundary}',
        f'{lost_table(evaluation.lost, names)}\n{lost_sentence(evaluation.lost)}',
        *(size_table(rows, RANGES[name]) for name, rows in evaluation.sizes.items()),
        confused_lines(evaluation.confused),
    ]
    if evaluation.calibration:
        parts.append(calibration_table(evaluation.calibration))
    return '\n\n'.join(parts)


def comparison_text(found: Mapping[str, dict], figures: Sequence[Mapping[str, dict]]) -> str:
    """The result of ``bootstrap`` for two models with their figures."""
    cells = []
    for group, row in found.items():
        low, high = (f'{100 * end:+.1f}' for end in row['interval'])
        cells.append(
            [
                group,
                *(percent(f[group]['pq']) for f in figures),
                f'{100 * row["difference"]:+.1f}',
                f'{low} to {high}',
                f'in {100 * row["better"]:.0f} % of draws',
            ]
        )
    return aligned(('', 'first', 'second', 'difference', '95 % interval', 'second better'), cells)
