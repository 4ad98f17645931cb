"""Writes docs/swaps.md from the rows themselves."""

import textwrap
from pathlib import Path

from . import rows as modules
from .row import Outcome, Row

WIDTH = 99
INTRODUCTION = """# What was swapped, and what came of it

Each entry is a leaf config of a few lines that swaps one part, as a user of mmdet writes it. It is
trained for two iterations by `tools/train.py` on generated scenes, is validated with its metric,
and is then compared with a run of its base. Of {number} swaps {works} work, and {refused} end in a
sentence. The file at the beginning of a section has the leaves. To try those whose section and part
match a pattern, with the outcome of each, or all as a test:

```bash
python tests/swaps/try_all.py --rows 'Necks: FPN'
python -m pytest -m slow tests/swaps   # all, about 6 minutes on 2 cores
```

All were tried on 2026-11-26 with torch 2.13.0+cpu, onedl-mmdetection 3.5.1, onedl-mmengine 0.10.12,
onedl-mmcv 2.3.6 and timm 1.0.31; mmcv had no compiled operators, and there was no GPU.

**works** means all of the following:

* *Image and ground truth are aligned.* The same data loader and data preprocessor are run on images
  that hold their own coordinates, and on images with one color per segment. In the batches that the
  model gets, every segment of the ground truth lies where the image says it does, to two pixels of
  the source. (Where colors change, the second kind of image is used alone.)
* *Everything learns.* Every tensor of the named parts has a gradient that is finite and not zero in
  at least one of the iterations; frozen tensors have none. Exceptions are named in the leaf's row:
  tensors behind the last feature that is read, and those without influence by their nature.
* *The output changed.* After the two iterations, the network gives other numbers for the same input
  than the base does, which has the same seed and data; rows of merges compare the segments that
  are made of the same smooth random masks, rows of metrics the names and values of the metrics.
  Where a swap must not change anything, such as a hook or a class in place of its name, the output
  is equal to the last bit.
* *It is really there.* The run holds a living object of every `type` that the leaf names, its
  losses are finite, and validation gave metrics.

Further checks stand with the leaf: the ratio of learning rates, the number of optimizer steps, the
terms of a loss, files that were written.

**In a sentence** end swaps that cannot work: `tools/train.py` says why before the first iteration,
and names what stands here in parentheses. For mmdet's own models it may come later. No swap ends in
a stack trace.
"""


def page() -> str:
    """The page as Markdown, with lines of at most 100 columns."""
    refused = sum(row.refused is not None for row in modules.ROWS)
    number = len(modules.ROWS)
    lines = [INTRODUCTION.format(number=number, works=number - refused, refused=refused)]
    for section in dict.fromkeys(row.section for row in modules.ROWS):
        rows = [row for row in modules.ROWS if row.section == section]
        works = [row.part for row in rows if row.refused is None]
        told = [f'{row.part} (`{row.refused}`)' for row in rows if row.refused is not None]
        file = file_of(section)
        lines.append(f'## {section}\n\nThe leaves: [{file.name}](../{file}).\n')
        lines += [*listed('works', works), *listed('in a sentence', told), '']
    return '\n'.join(lines).strip() + '\n'


def file_of(section: str) -> Path:
    """The file that has the rows of a section."""
    names = (name for name, module in vars(modules).items() if hasattr(module, 'ROWS'))
    name = next(n for n in names if section in {r.section for r in getattr(modules, n).ROWS})
    return Path(f'tests/swaps/swapping/rows/{name}.py')


def listed(head: str, names: list[str]) -> list[str]:
    text = f'* **{head}**: {" · ".join(names)}.'.replace(' _delete_', r' \_delete_')
    options = dict(break_on_hyphens=False, break_long_words=False)
    return textwrap.wrap(text, WIDTH, subsequent_indent='  ', **options) if names else []


def result(row: Row, outcome: Outcome) -> str:
    """What came of a row, in words."""
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
