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

from cmt_deeplab.models.heads.panoptic_head import CMTPanopticHead

from .form import Form


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
    A checkpoint without the backbone is an error; any other part may be missing.
    """

    name: str
    target: str
    pairs: dict[str, str]
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
    of entries that are no weights. ``tables`` are those that rows name; backbones and pixel
    decoders have tables under the names of their classes. ``other_rows`` gives, for a detector with
    a CMTPanopticHead, the rows of all other parts by the part's name, which ends with that of our
    module. ``form`` is what the network must be like. ``arrange`` gets our name of a tensor and the
    tensor, and brings it into our order of axes and classes; it gives None where the order of the
    classes is not known.
    """

    read: Callable[[str], tuple[dict[str, Tensor], int]]
    tables: dict[str, str]
    other_rows: Callable[[nn.Module], dict[str, str]]
    form: Form
    arrange: Callable[[str, Tensor], Tensor | None]

    def parts(self, model: nn.Module) -> list[Part]:
        """The parts that ``model``, a detector, can take from a checkpoint of this code base."""
        rows = {'backbone': self._rows_of(model.backbone)}
        head = getattr(model, 'panoptic_head', None)
        if isinstance(head, CMTPanopticHead):
            rows['pixel decoder'] = self._rows_of(head.pixel_decoder)
            rows.update(self.other_rows(model))
        parts, unfit = [], self.form.unfit(model)
        for name, text in rows.items():
            module = name.rpartition(' of the ')[2].replace(' ', '_')
            target = module if module == 'backbone' else f'panoptic_head.{module}'
            parts.append(Part(name, target, read_rows(self.tables, text), unfit.get(name, '')))
        return parts

    def _rows_of(self, module: nn.Module) -> str:
        """The table of the module's class or its nearest base class; empty where there is none."""
        names = (kind.__name__ for kind in type(module).__mro__)
        return next((self.tables[name] for name in names if name in self.tables), '')


def layer_rows(decoder: nn.Module, row: str) -> str:
    """Rows for the layers of a transformer decoder; the source numbers them through all stages.

    ``row`` takes our place of a layer, ``stage.layer``, and the source's number.
    """
    places = [f'{i}.{j}' for i, stage in enumerate(decoder.stages) for j in range(len(stage))]
    return '\n'.join(row.format(place, number) for number, place in enumerate(places))
