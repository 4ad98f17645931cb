"""Writes docs/swaps.md."""

import html
import textwrap
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from .row import Outcome, Row

WIDTH = 99
INTRODUCTION = """# What was swapped, and what came of it

Each row is a leaf config of a few lines that swaps one part, as a user of mmdet writes it. It is
trained for two iterations by `tools/train.py` on generated scenes, is validated with its metric,
and is then compared with a run of its base. This page is written by

```bash
python tests/swaps/make_table.py --markdown docs/swaps.md   # about {minutes} minutes on 2 cores
python tests/swaps/make_table.py --rows 'FPN'               # the rows that match, without the page
python -m pytest -m slow tests/swaps                        # all rows as a test
```

Made on {date} with {versions}: {counts}. timm is optional and was installed; mmcv had no compiled
operators; there was no GPU.

**works** means all of the following:

* *Image and ground truth are aligned.* The same data loader and data preprocessor are run on images
  that hold their own coordinates, and on images with one color per segment. In the batches that the
  model gets, every segment of the ground truth lies where the image says it does, to two pixels of
  the source. (Where colors change, the second kind of image is used alone.)
* *Everything learns.* Every tensor of the named parts has a gradient that is finite and not zero in
  at least one of the iterations; frozen tensors have none. Exceptions are named in the row: tensors
  behind the last feature that is read, and those that have no influence by their nature.
* *The output changed.* After the two iterations, the network gives other numbers for the same input
  than the base does, which has the same seed and data; rows of merges compare the segments that
  are made of the same smooth random masks, rows of metrics the names and values of the metrics.
  Where a swap must not change anything, such as a hook or a class in place of its name, the output
  is equal to the last bit: these rows say *equal output*.
* *It is really there.* The run holds a living object of every `type` that the leaf names, its
  losses are finite, and validation gave metrics.

Further checks are named in the row: the ratio of learning rates, the number of optimizer steps, the
terms of a loss, files that were written.

Otherwise the row has the **sentence** with which `tools/train.py` ended before the first iteration;
rows of mmdet's own models say where it came later. No row ends in a stack trace.

The bases are `tiny` (the tiny model, 3 levels, 96x96 pixels), `r50` (the R50 model, narrower, with
4 levels and aligned corners at 97x97), `r50_96` (the same without aligned corners) and
`mask2former` (a tiny one of mmdet): see [tests/swaps/bases](../tests/swaps/bases).
"""


def installed(name: str) -> str | None:
    try:
        return f'{name} {version(name)}'
    except PackageNotFoundError:
        return None


def page(results: Sequence[tuple[Row, Outcome]], *, date: str, seconds: float) -> str:
    """The page as Markdown, with lines of at most 100 columns."""
    kinds = Counter(outcome.kind for _, outcome in results)
    packages = ('torch', 'onedl-mmdetection', 'onedl-mmengine', 'onedl-mmcv', 'timm')
    introduction = INTRODUCTION.format(
        minutes=round(seconds / 60),
        date=date,
        versions=', '.join(filter(None, map(installed, packages))),
        counts=f'{len(results)} rows, of which {kinds["works"]} work and {kinds["refused"]} end '
        'in a sentence',
    )
    lines = [_filled(paragraph) for paragraph in introduction.split('\n\n')]
    sections = dict.fromkeys(row.section for row, _ in results)
    for section in sections:
        lines.append(f'## {section}')
        table = ['<table>', '<tr><th>part</th><th>base</th><th>leaf</th><th>result</th></tr>']
        for row, outcome in results:
            if row.section == section:
                table += cells(row, outcome)
        lines.append('\n'.join([*table, '</table>']))
    return '\n\n'.join(line.strip('\n') for line in lines) + '\n'


def _filled(paragraph: str) -> str:
    if paragraph.startswith('Made on'):
        return textwrap.fill(
            paragraph.replace('\n', ' '), WIDTH, break_on_hyphens=False, break_long_words=False
        )
    return paragraph


def cells(row: Row, outcome: Outcome | None) -> list[str]:
    """The lines of one row of an HTML table, which may hold code of several lines."""
    code = [html.escape(line, quote=False) for line in row.leaf.strip('\n').split('\n')]
    if row.arguments:
        code = [*filter(None, code), f'python tools/train.py leaf.py {" ".join(row.arguments)}']
    text = '' if outcome is None else result(row, outcome)
    said = [
        html.escape(line, quote=False) for line in textwrap.wrap(text, 94, break_long_words=False)
    ]
    return [
        f'<tr><td>{html.escape(row.part, quote=False)}</td><td>{row.base or ""}</td><td><pre>',
        *code,
        '</pre></td><td>',
        *said,
        '</td></tr>',
    ]


def result(row: Row, outcome: Outcome) -> str:
    if outcome.kind != 'works':
        return f'{outcome.text}' if outcome.kind == 'refused' else f'FAULT: {outcome.text}'
    learning = [value for key, value in outcome.evidence.items() if key.startswith('learns ')]
    numbers = [sum(map(int, pair)) for pair in zip(*(value.split('/') for value in learning))]
    text = 'works'
    if row.changes == 'nothing':
        text += ', equal output'
    if numbers:
        text += f'; {numbers[0]} of {numbers[1]} tensors learn'
    for check in row.shows:
        text += f'; {check.text}'
    if row.frozen:
        text += f', frozen: {", ".join(row.frozen)}'
    if row.unused:
        text += f', not counted: {", ".join(row.unused)}'
    return text
