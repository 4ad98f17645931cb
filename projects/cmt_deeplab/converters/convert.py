"""Renames the tensors of a checkpoint by the tables of a code base, and writes a checkpoint."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from torch import Tensor, nn

from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.checkpoints.published import write_weights
from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import not_finite

from .table import CodeBase, Part

# The numbers of blocks and layers in a name, not of stages, of which a network may have fewer.
_COUNTERS = re.compile(r'(?<!stage)(?<!res)(?<!\d)\d+')


@dataclass(frozen=True)
class Conversion:
    """The ``state_dict`` under our names, and what was found.

    ``unused`` are the names of the source without a place here, ``unfilled`` those of the network
    without a tensor, ``parts`` the parts that were found. ``bookkeeping`` counts the entries of the
    source that are no weights.
    """

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
    """``value`` in the shape of ``like``, or None where it does not fit.

    It fits where the shapes differ by axes of length 1 alone, or where ``like`` is a vector of as
    many numbers.
    """
    squeezed = value.squeeze().shape == like.squeeze().shape
    if squeezed or (like.dim() == 1 and value.numel() == like.numel()):
        return value.reshape(like.shape)
    return None


def convert(
    source: dict[str, Tensor],
    model: nn.Module,
    code_base: CodeBase,
    *,
    path: str = 'the source',
    config: str = 'the config',
    bookkeeping: int = 0,
) -> Conversion:
    """The tensors of ``source`` under the names of ``model``; copies nothing into the model.

    A norm's counter of batches is 0 where the source has none. ``path`` and ``config`` are named in
    errors.

    Raises:
        UserError: the source is of another network: a required part is missing, a part is
            incomplete, a shape differs, or the source has more blocks or layers. Or the network is
            not in the form that a part needs, or the order of the source's classes is not known.
    """
    own = {n: t for n, t in model.state_dict().items() if not n.startswith('data_preprocessor.')}
    another = f'{path} is a checkpoint of another network than {config}'
    result: dict[str, Tensor] = {}
    used, found = set(), []
    for part in code_base.parts(model):
        names = part.source_names(own)
        if not _is_there(part, names, source, path, config):
            continue
        found.append(part.name)
        for target, name in names.items():
            if name not in source:
                result[target] = torch.zeros_like(own[target], device='cpu')
                continue
            value = code_base.arrange(target, source[name])
            if value is None:
                raise UserError(
                    f"{path} has an unknown order of classes: '{name}' has {len(source[name])} "
                    'channels; only the classes of COCO and of Cityscapes can be converted.'
                )
            fitting = fit(value, own[target])
            if fitting is None:
                raise UserError(
                    f"{another}: '{name}' has shape {tuple(value.shape)}, '{target}' "
                    f'{tuple(own[target].shape)}; use the config that belongs to it.'
                )
            result[target] = fitting.to(own[target].dtype).clone()
            used.add(name)
    unused = sorted(set(source) - used)
    for name in unused:
        for at in _COUNTERS.finditer(name):
            if f'{name[: at.start()]}{int(at[0]) - 1}{name[at.end() :]}' in used:
                raise UserError(
                    f'{path} is a checkpoint of a larger network than {config}, which has no place '
                    f"for '{name}'; use the config that belongs to it."
                )
    unfilled = [name for name in own if name not in result]
    return Conversion(result, unused, unfilled, found, bookkeeping)


def _is_there(
    part: Part, names: dict[str, str], source: dict[str, Tensor], path: str, config: str
) -> bool:
    """Whether the source has the part, all of it, and the network can take it."""
    needed = [n for target, n in names.items() if not target.endswith('num_batches_tracked')]
    required = part.name == 'backbone'
    if required and not needed:
        raise UserError(
            f'{path} comes from a code base without the {part.name} of {config}; use a config of '
            'a network that it has.'
        )
    missing = [name for name in needed if name not in source]
    if len(missing) == len(needed) and not required:
        return False
    if missing:
        raise UserError(
            f'{path} is a checkpoint of another network than {config}: of the {part.name} it lacks '
            f"'{missing[0]}' ({len(missing)} of {len(needed)} tensors); use the config that "
            'belongs to it.'
        )
    if part.unfit:
        raise UserError(f'{config} cannot take the {part.name} of {path}: {part.unfit}.')
    return True


def convert_file(src: str, dst: str, config: Config, code_base: CodeBase) -> Conversion:
    """Converts the checkpoint ``src`` for the network of ``config`` and writes ``dst``.

    The weights get what mmdet's inference API reads, the classes and colors of the config's test
    set. A name that ends in .safetensors gets a JSON file for them beside it, any other one is a
    checkpoint of mmengine.
    """
    source, bookkeeping = code_base.read(src)
    broken, name = not_finite(source), config.filename or 'the config'
    if broken is not None:
        raise UserError(
            f"{src} has weights that are not finite ('{broken}' has nan or inf): use another one."
        )
    model = build_without_values(config.model)
    conversion = convert(source, model, code_base, path=src, config=name, bookkeeping=bookkeeping)
    dataset = config.test_dataloader.dataset
    classes = dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO
    meta = dict(converted_from=Path(src).name, parts=conversion.parts, dataset_meta=dict(classes))
    write_weights(dst, conversion.state_dict, meta)
    return conversion
