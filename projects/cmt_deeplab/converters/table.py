"""Tables of names: how a tensor is called here and how another code base calls it.

A table is a text with one row per module or tensor:

    layer{i}.{j}.    encoder/_stage{i+1}/_block{j+1}    resnet_block

The first column is our name, the second the source's ('' where it is empty). ``{i}`` stands for
any number in our name; the source's name repeats it, or that number plus a constant. A third column
names the table whose rows continue both names.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn


def read_rows(tables: dict[str, str], rows: str) -> dict[str, str]:
    """The pairs of patterns, our name to the source's, of the text ``rows``; ``tables`` holds what
    the third column names.
    """
    pairs = {}
    for row in filter(str.strip, rows.splitlines()):
        ours, theirs, *rest = ('' if column == "''" else column for column in row.split())
        further = read_rows(tables, tables[rest[0]]) if rest else {'': ''}
        pairs.update({ours + end: theirs + their_end for end, their_end in further.items()})
    return pairs


@dataclass(frozen=True)
class Part:
    """A part of the network, of which a checkpoint has all tensors or none.

    ``pairs`` are the name patterns of :func:`read_rows`, ours below the module ``target``.
    ``unfit`` says why this network cannot take the part and what to set, or is empty where it can.
    """

    name: str
    target: str
    pairs: dict[str, str]
    required: bool = False
    unfit: str = ''

    def source_names(self, own: Iterable[str]) -> dict[str, str]:
        """The source's name for each of our tensors ``own`` that the part has."""
        patterns = [
            (re.compile(re.sub(r'\\{(\w)\\}', r'(?P<\1>\\d+)', re.escape(ours))), theirs)
            for ours, theirs in self.pairs.items()
        ]
        names = {}
        for name in own:
            ending = name.removeprefix(f'{self.target}.')
            if ending == name:
                continue
            for pattern, theirs in patterns:
                if found := pattern.fullmatch(ending):
                    names[name] = re.sub(
                        r'\{(\w)\+?(\d*)\}',
                        lambda number: str(int(found[number[1]]) + int(number[2] or 0)),
                        theirs,
                    )
                    break
        return names


@dataclass(frozen=True)
class CodeBase:
    """How to read the checkpoints of a code base.

    ``read`` gives the tensors of a file by name, kernels in PyTorch's order of axes, and the number
    of entries that are no weights. ``parts`` are those that a detector can take. ``arrange`` gets
    our name of a tensor and the tensor, and brings it into our order of axes and classes; it gives
    None where the order of the classes is not known.
    """

    read: Callable[[str], tuple[dict[str, Tensor], int]]
    parts: Callable[[nn.Module], list[Part]]
    arrange: Callable[[str, Tensor], Tensor | None]


def parts_of(rows: dict[str, str], tables: dict[str, str], unfit: dict[str, str]) -> list[Part]:
    """The parts whose rows are given by name; a name ends with that of our module.

    ``unfit`` has the reasons of the parts that the network cannot take.
    """
    parts = []
    for name, text in rows.items():
        module = name.rpartition(' of the ')[2].replace(' ', '_')
        backbone = module == 'backbone'
        target = module if backbone else f'panoptic_head.{module}'
        pairs = read_rows(tables, text)
        parts.append(Part(name, target, pairs, required=backbone, unfit=unfit.get(name, '')))
    return parts


def layer_rows(decoder: nn.Module, row: str) -> str:
    """Rows for the layers of a transformer decoder; the source numbers them through all stages.

    ``row`` takes our place of a layer, ``stage.layer``, and the source's number.
    """
    places = [f'{i}.{j}' for i, stage in enumerate(decoder.stages) for j in range(len(stage))]
    return '\n'.join(row.format(place, number) for number, place in enumerate(places))
