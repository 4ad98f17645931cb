"""The loop over a table of name pairs, and a checkpoint of its result."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from torch import Tensor, nn

from cmt_deeplab.errors import UserError

from .table import Part

# The numbers of blocks and layers in a name, not those of the stages, of which a network may have fewer.
_COUNTERS = re.compile(r'(?<!stage)(?<!res)(?<!\d)\d+')


@dataclass(frozen=True)
class Conversion:
    """``state_dict`` under our names; ``unused`` names of the source, ``unfilled`` names of ours, the ``parts`` that were found."""

    state_dict: dict[str, Tensor]
    unused: list[str]
    unfilled: list[str]
    parts: list[str]
    bookkeeping: int = 0

    def report(self) -> str:
        lines = [f'{len(self.state_dict)} tensors converted: {", ".join(self.parts)}']
        for title, names in (
            ('names of the source not used', self.unused),
            ('names of the network not filled', self.unfilled),
        ):
            lines += [f'{title}: {len(names)}', *(f'    {name}' for name in names)]
        if self.bookkeeping:
            lines.append(f'optimizer slots and counters, left out: {self.bookkeeping}')
        return '\n'.join(lines)


def fit(value: Tensor, like: Tensor) -> Tensor | None:
    """``value`` in the shape of ``like`` where they differ by axes of length 1, or ``like`` is a vector of as many numbers; else None."""

    def lengths(tensor: Tensor) -> list[int]:
        return [length for length in tensor.shape if length != 1]

    if lengths(value) == lengths(like) or like.dim() == 1 and value.numel() == like.numel():
        return value.reshape(like.shape)
    return None


def convert(
    source: dict[str, Tensor],
    model: nn.Module,
    table: Sequence[Part],
    *,
    path: str = 'the source',
    config: str = 'the config',
    bookkeeping: int = 0,
) -> Conversion:
    """The tensors of ``source`` under the names of ``model``, by the pairs of ``table``; copies nothing into the model.

    A norm's counter of batches is 0 where the source has none. ``path`` and ``config`` are named in errors.

    Raises:
        ValueError: the source is of another network: a required part is missing, a part is incomplete, a shape differs, or there are more
            blocks or layers in the source than here; or the network is not in the form that a part needs.
    """
    own = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith('data_preprocessor.')
    }
    result: dict[str, Tensor] = {}
    used, found = set(), []
    for part in table:
        pairs = [
            (f'{row.source}{theirs}', _join(row.target, ours), row)
            for row in part.rows
            for ours, theirs in row.tensors.items()
            if _join(row.target, ours) in own
        ]
        needed = [name for name, target, _ in pairs if not target.endswith('num_batches_tracked')]
        if not _is_there(part, needed, source, path, config):
            continue
        found.append(part.name)
        for name, target, row in pairs:
            if name not in source:
                result[target] = torch.zeros_like(own[target], device='cpu')
                continue
            value = source[name] if row.arrange is None else row.arrange(source[name])
            fitting = fit(value, own[target])
            if fitting is None:
                raise UserError(
                    f"{path} is a checkpoint of another network than {config}: '{name}' has shape {tuple(value.shape)}, "
                    f"'{target}' {tuple(own[target].shape)}; use the config that belongs to it."
                )
            result[target] = fitting.to(own[target].dtype).clone()
            used.add(name)
    unused = sorted(set(source) - used)
    for name in unused:
        if any(
            f'{name[: at.start()]}{int(at[0]) - 1}{name[at.end() :]}' in used
            for at in _COUNTERS.finditer(name)
        ):
            raise UserError(
                f"{path} is a checkpoint of a larger network than {config}, which has no place for '{name}'; use the config "
                'that belongs to it.'
            )
    return Conversion(
        result, unused, [name for name in own if name not in result], found, bookkeeping
    )


def _is_there(
    part: Part, needed: Sequence[str], source: dict[str, Tensor], path: str, config: str
) -> bool:
    """Whether the source has the part, all of it, and the network can take it."""
    if part.required and not needed:
        raise UserError(
            f'{path} belongs to a code base that has no {part.name} as that of {config}; use a config of one that it has.'
        )
    missing = [name for name in needed if name not in source]
    if len(missing) == len(needed) and not part.required:
        return False
    if missing:
        raise UserError(
            f"{path} is a checkpoint of another network than {config}: of the {part.name} it lacks '{missing[0]}' "
            f'({len(missing)} of {len(needed)} tensors); use the config that belongs to it.'
        )
    if part.unfit:
        raise UserError(f'{config} cannot take the {part.name} of {path}: {part.unfit}.')
    return True


def _join(module: str, tensor: str) -> str:
    return f'{module}.{tensor}' if tensor else module


def convert_file(
    src: str,
    dst: str,
    config: Config,
    *,
    read: Callable[[str], tuple[dict[str, Tensor], int]],
    table: Callable[[nn.Module], Sequence[Part]],
) -> Conversion:
    """Converts the checkpoint ``src`` for the network of ``config`` and writes ``dst``, ``{'state_dict', 'meta'}`` as mmengine does."""
    source, bookkeeping = read(src)
    model = MODELS.build(config.model)
    conversion = convert(
        source,
        model,
        table(model),
        path=src,
        config=config.filename or 'the config',
        bookkeeping=bookkeeping,
    )
    Path(dst).parent.mkdir(parents=True, exist_ok=True)
    dataset = (
        config.test_dataloader.dataset
    )  # its classes and colors, which mmdet's inference API reads off the checkpoint
    classes = dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO
    meta = dict(converted_from=Path(src).name, parts=conversion.parts, dataset_meta=dict(classes))
    torch.save(dict(state_dict=conversion.state_dict, meta=meta), dst)
    return conversion
