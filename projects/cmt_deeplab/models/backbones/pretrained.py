"""Backbone weights from files of several code bases: fetched, unwrapped, renamed and checked."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from cmt_deeplab.errors import MissingFileError, UserError, frames_of

PRETRAINED = ('Pretrained', PretrainedInit)  # types of init_cfg
KEY = 'model.backbone'
# Keys of a file under which its tensors may lie.
WRAPPERS = ('state_dict', 'model', 'model_state')
# Of names: of DDP, of OpenMMLab's classifiers and detectors, of TimmBackbone.
PREFIXES = ('module.', 'backbone.', 'model.')
# Buffers that a file need not have.
COMPUTED = ('num_batches_tracked', 'relative_position_index', 'attn_mask')
# Half of the tensors of a ResNet-101 fit a ResNet-50; added plugins leave three quarters.
LEAST_SHARE = 2 / 3


class PretrainedMixin:
    """Makes ``init_cfg=dict(type='Pretrained', ...)`` of a backbone read files of any code base.

    The keys are those of mmengine: ``checkpoint``, a path or URL, and ``prefix``, which picks a
    part of the file; without it the usual wrappings are taken off. mmengine's own ``Pretrained``
    takes a file of another model without complaint. ``renamings`` are regular expressions and
    replacements, applied in turn to every name of the file.

    Raises, when the weights are initialized:
        MissingFileError: the file does not exist or cannot be fetched.
        UserError: it is damaged, or less than two thirds of the network's tensors are in it with
            the right shape.
    """

    renamings: Sequence[tuple[str, str | Callable]] = ()

    @property
    def pretrained_part(self) -> nn.Module:
        """What a file has the weights of: the whole backbone, unless a class adds modules."""
        return self

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the file under the names, and in the layout, of the network."""
        for pattern, replacement in self.renamings:
            weights = {re.sub(pattern, replacement, name): value for name, value in weights.items()}
        return weights

    def init_weights(self) -> None:
        given = init_configs(self.init_cfg)
        pretrained = pretrained_config(self)
        if pretrained is None or self.is_init:
            super().init_weights()
            return
        own, self.init_cfg = self.init_cfg, [cfg for cfg in given if cfg is not pretrained] or None
        try:
            BaseModule.init_weights(self)
        finally:
            self.init_cfg = own
        source = pretrained['checkpoint']
        weights = read_weights(source, prefix=pretrained.get('prefix'))
        fill(self.pretrained_part, self.rename(weights), source=source)


def init_configs(init_cfg: dict | Sequence[dict] | None) -> list[dict]:
    """The entries of an ``init_cfg``, which may be one dict, several or none."""
    return [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or ())


def pretrained_config(module: nn.Module) -> dict | None:
    """The entry of the module's ``init_cfg`` that names a file of weights, or None."""
    for entry in init_configs(getattr(module, 'init_cfg', None)):
        if entry.get('type') in PRETRAINED:
            if not isinstance(entry.get('checkpoint'), str):
                raise UserError(
                    f"init_cfg of {type(module).__name__} is of type 'Pretrained', but its "
                    'checkpoint is no path or URL: add it, or set init_cfg=None.'
                )
            return entry
    return None


def remedy(key: str) -> str:
    """What to do about a file that does not serve the part of the model at ``key``."""
    return (
        f'{key}.init_cfg.checkpoint, or train from scratch with --cfg-options {key}.init_cfg=None'
    )


def read_weights(source: str, *, prefix: str | None) -> dict[str, Tensor]:
    """The tensors of a file, URL or ``torchvision://`` name, without prefixes of their names."""
    weights = read_tensors(source, key=KEY)
    if prefix:
        return _below(f'{prefix.rstrip(".")}.', weights)
    while inner := next(filter(None, (_below(known, weights) for known in PREFIXES)), None):
        weights = inner
    return weights


def read_tensors(source: str, *, key: str) -> dict[str, Tensor]:
    """The tensors of a file by their names in it; ``key`` is the place of the network."""
    try:
        checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu')
    except MissingFileError as error:  # its last words are to give another path
        raise MissingFileError(f'{str(error).rstrip(".")} as {remedy(key)}.') from error
    for wrapper in WRAPPERS:
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(wrapper), dict):
            checkpoint = checkpoint[wrapper]
    items = checkpoint.items() if isinstance(checkpoint, dict) else ()
    return {name: value for name, value in items if isinstance(value, Tensor)}


def _below(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names have the prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


def fill(network: nn.Module, weights: dict[str, Tensor], *, source: str) -> None:
    """Copies the tensors that fit into the network; logs what is missing and what is left over."""
    state = network.state_dict()
    wanted = [name for name in state if not name.endswith(COMPUTED)]
    fitting = {
        name: weights[name]
        for name in wanted
        if name in weights and weights[name].shape == state[name].shape
    }
    missing = [name for name in wanted if name not in fitting]
    kind, share = type(network).__name__, f'{len(fitting)} of {len(wanted)} tensors'
    if len(fitting) < LEAST_SHARE * len(wanted):
        raise UserError(
            f'The weights {source} are of another model than this {kind}: {share} fit '
            f"('{missing[0]}' does not); name the file of the same architecture as {remedy(KEY)}."
        )
    network.load_state_dict(fitting, strict=False)
    unused = [name for name in weights if name not in fitting and not name.endswith(COMPUTED)]
    print_log(
        f'{kind}: {share} from {source}; not found there: {_listed(missing)}; not used: '
        f'{_listed(unused)}',
        logger='current',
    )


def _listed(names: Sequence[str]) -> str:
    more = f' and {len(names) - 6} more' if len(names) > 6 else ''
    return (', '.join(names[:6]) or 'none') + more


@contextmanager
def checked_weights(model: nn.Module) -> Iterator[None]:
    """Around ``model.init_weights()``: files named by the ``init_cfg`` of any part must serve it.

    mmengine and the backbones of mmdet, some of which rename and rearrange what they read, take a
    file of another model with a warning. Here the kernels of the part, its tensors of two and
    more axes, are looked up among those of the file once they are initialized. Parts with the
    :class:`PretrainedMixin` check for themselves.

    Raises:
        MissingFileError: a file does not exist or cannot be fetched.
        UserError: a file is damaged, less than two thirds of the kernels of the part come from it,
            or it has blocks that the part lacks.
    """
    parts = []
    for name, part in model.named_modules():
        entry = pretrained_config(part)
        if entry is None or isinstance(part, PretrainedMixin) or getattr(part, 'is_init', False):
            continue
        key, prefix = f'model.{name}'.rstrip('.'), entry.get('prefix', '')
        tensors = read_tensors(entry['checkpoint'], key=key)
        if not any(name.startswith(prefix) for name in tensors):
            found = f" with names that begin with '{prefix}'" if prefix else ''
            hint = f'correct or remove {key}.init_cfg.prefix, or ' if prefix else ''
            raise UserError(
                f'The weights {entry["checkpoint"]} have no tensors{found}: {hint}name another '
                f'file as {remedy(key)}.'
            )
        begin = '' if prefix else next(iter(tensors)).partition('.')[0]
        shapes = {name.removeprefix(prefix): value.shape for name, value in tensors.items()}
        known = {_print(value) for value in tensors.values()}
        parts.append((part, shapes, key, known, entry, begin))
    try:
        yield
    except Exception as error:  # mmdet's Swin, for one, looks at the first name that it knows
        frames = frames_of(error)
        for part, _, *about in parts:
            if any(frame.f_locals.get('self') is part for frame in frames):
                raise _foreign(part, *about) from error
        raise
    for part, shapes, key, known, entry, begin in parts:
        kernels = [value for value in part.state_dict().values() if value.dim() > 1]
        found = sum(_print(kernel) in known for kernel in kernels)
        if found < LEAST_SHARE * len(kernels):
            raise _foreign(part, key, known, entry, begin)
        further = further_kernels(shapes, part.state_dict())
        if 4 * len(further) > len(kernels):
            raise UserError(
                f'The weights {entry["checkpoint"]} are of a deeper model than this '
                f"{type(part).__name__}, which has no '{min(further)}': name the file of the same "
                f'architecture as {remedy(key)}.'
            )


def further_kernels(shapes: dict[str, tuple], own: dict[str, Tensor]) -> list[str]:
    """The names of the kernels in further blocks of a stage, beyond the blocks of ``own``."""
    found = []
    for name in shapes.keys() - own.keys():
        words = name.split('.')
        firsts = ['.'.join([*words[:k], '0', *words[k + 1 :]]) for k in range(len(words))]
        firsts = [own[first] for first in firsts if first in own]
        found += [name for first in firsts[:1] if first.dim() > 1 and first.shape == shapes[name]]
    return found


def _foreign(part: nn.Module, key: str, known: set, entry: dict, begin: str) -> UserError:
    """The error about a file that does not serve a part; ``begin`` is where its names begin."""
    hint = ''
    if getattr(part, 'convert_weights', True) is False:
        hint = f'set {key}.convert_weights=True for a file of its authors, or '
    elif f'{begin}.' in PREFIXES:
        hint = f"set {key}.init_cfg.prefix='{begin}.' to read that part of the file, or "
    kernels = [value for value in part.state_dict().values() if value.dim() > 1]
    found = sum(_print(kernel) in known for kernel in kernels)
    return UserError(
        f'The weights {entry["checkpoint"]} are of another model than this {type(part).__name__}, '
        f'or have other names: {found} of its {len(kernels)} kernels come from them; {hint}name '
        f'the file of the same architecture as {remedy(key)}.'
    )


def _print(value: Tensor) -> tuple:
    """Size and first values of a tensor, by which it is known again in another shape."""
    return value.numel(), tuple(value.flatten()[:8].float().tolist())
