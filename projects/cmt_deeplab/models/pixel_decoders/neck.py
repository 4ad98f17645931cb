"""Necks and pixel decoders of mmdet in one form: maps in, maps out, fine to coarse."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from itertools import product

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from cmt_deeplab.compat import CompiledOpMissing
from cmt_deeplab.construction import name_of, quote
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size
from cmt_deeplab.parts import build_part, part_class

from .neck_arguments import maps_read_by, neck_arguments, takes_maps

PROBE = (3, 5)  # size of the coarsest feature when a neck is tried out
FITS = 'the necks and pixel decoders of mmdet, such as FPN and MSDeformAttnPixelDecoder,'


class AdaptedNeck(nn.Module):
    """One neck, or several in a row, on features of known widths and strides.

    Any module fits that makes maps (B, C, H, W) of a list of maps, such as mmdet's necks and pixel
    decoders. It is tried out when it is built, and what comes out tells widths and strides. Maps
    coarser than the coarsest feature are left out, and parameters that lead to those alone are
    frozen.

    A neck that doubles the size of a map fails where corners are aligned, since sides are odd
    there, and one with coarser maps of its own may fail on small images. Its inputs are then padded
    with zeros at the right and the bottom, as mmdet pads images, and its outputs are cut to size.

    Args:
        config: of a neck, or a list of them, each of which reads the maps of the one before. A
            config may leave out what the features tell, ``in_channels`` for example. Where it
            gives the ``in_channels`` of some neighboring features, the neck reads those alone.
        in_channels, in_strides: of the features, fine to coarse.
        key: where the config stands, for messages.

    Attributes:
        widths, strides: of the maps that come out, fine to coarse.
    """

    def __init__(
        self,
        config: Mapping | Sequence[Mapping],
        *,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        align_corners: bool,
        key: str = 'model.neck',
    ) -> None:
        super().__init__()
        self.in_channels, self.in_strides = tuple(in_channels), tuple(in_strides)
        self.align_corners = align_corners
        self.multiple = 0  # of which the coarsest map is padded to one; 0: nothing is padded
        self.necks = nn.ModuleList()
        self.reads: list[slice] = []  # which maps each neck reads
        self.gives: list[list[int]] = []  # which of its outputs go on, fine to coarse
        self.wants_metas: list[bool] = []  # whether it is a pixel decoder with mmdet's metas
        configs = {key: config}
        if not isinstance(config, Mapping):
            configs = {f'{key}.{i}': one for i, one in enumerate(config)}
        if not configs:
            raise UserError(f'{key} is an empty list: name a neck, or leave the key out.')
        self.widths = list(in_channels)
        for place, one in configs.items():
            self._append(one, place)
        kept = [i for i, stride in enumerate(self.strides) if stride]
        all_kept = len(kept) == len(self.strides)
        self.gives[-1] = [self.gives[-1][i] for i in kept]
        self.widths = [self.widths[i] for i in kept]
        self.strides = [self.strides[i] for i in kept]
        if not all_kept:
            self.train_for(range(len(kept)), f'{key}: maps beyond stride {in_strides[-1]}')
        self.to(torch.get_default_device())

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps, fine to coarse, of ``features``, fine to coarse."""
        coarsest = features[-1].shape[-2:]
        sizes = (self.size_at(stride, coarsest) for stride in self.strides)
        return [x[..., :h, :w] for x, (h, w) in zip(self._run(features), sizes)]

    def size_at(self, stride: int, coarsest: Sequence[int]) -> Size:
        """The size of a map at ``stride``, where ``coarsest`` is that of the coarsest feature."""
        extra = int(self.align_corners)
        return tuple((side - extra) * self.in_strides[-1] // stride + extra for side in coarsest)

    def _padded_size_at(self, stride: int, coarsest: Sequence[int]) -> Size:
        """The same for the maps inside."""
        if not self.multiple:
            return self.size_at(stride, coarsest)
        sides = (-(-side // self.multiple) * self.multiple for side in coarsest)
        return tuple(side * self.in_strides[-1] // stride for side in sides)

    def _run(self, features: Sequence[Tensor]) -> list[Tensor]:
        """What the necks make of features, not cut yet."""
        maps, coarsest = list(features), features[-1].shape[-2:]
        if self.multiple:
            sizes = (self._padded_size_at(stride, coarsest) for stride in self.in_strides)
            maps = [
                F.pad(x, (0, w - x.shape[-1], 0, h - x.shape[-2])) for x, (h, w) in zip(maps, sizes)
            ]
        for neck, reads, gives, wants in zip(self.necks, self.reads, self.gives, self.wants_metas):
            maps = maps[reads]
            size = tuple(maps[0].shape[-2:])  # all of it counts as image, none as padding
            metas = [[dict(img_shape=size, batch_input_shape=size)] * len(maps[0])] * wants
            maps = _flat(neck(tuple(maps), *metas))
            maps = [maps[i] for i in gives or range(len(maps))]
        return maps

    def _append(self, config: Mapping, key: str) -> None:
        """Add a neck that reads the maps of the one before it."""
        neck_type = part_class(key, config)
        if not takes_maps(neck_type):
            raise UserError(
                f'{key} is a {name_of(neck_type)}, which does not fit there: a neck or a pixel '
                f'decoder makes a list of maps of a list of maps, forward(maps); {FITS} fit.'
            )
        reads = maps_read_by(config, self.widths, key)

        def try_out(neck: nn.Module) -> AdaptedNeck:
            with _quiet():
                getattr(neck, 'init_weights', lambda: None)()
            self.necks.append(neck)
            self.reads.append(reads)
            self.gives.append([])
            self.wants_metas.append('batch_img_metas' in signature(neck.forward).parameters)
            self._try_out(key)
            return self

        given = neck_arguments(neck_type, config, self.widths, self.in_strides)
        with torch.device('cpu'):  # a model may be built on the device 'meta'
            build_part(key, config, adapt=try_out, **given)

    def _try_out(self, key: str) -> None:
        """Find a way to run the necks, the last of which is new."""
        multiples = [0, 1, 4] if self.align_corners else [0, 4]
        devices = ['cpu', *['cuda'] * torch.cuda.is_available()]  # some operators want a GPU
        for self.device, self.multiple in product(devices, multiples):
            try:
                return self._measure()
            except CompiledOpMissing:
                raise
            except Exception as error:  # whatever the code of a neck raises
                failure = error
        raise UserError(
            f'{key}: {type(self.necks[-1]).__name__} does not run on features of '
            f'{list(self.in_channels)} channels at strides {list(self.in_strides)} '
            f'({quote(failure)}): correct its arguments, or take another; {FITS} fit.'
        ) from failure

    def _measure(self) -> None:
        """Note the order of the maps that come out, their widths, and their strides.

        A map that is coarser than the coarsest feature gets the stride 0.
        """
        self.gives[-1] = []
        maps = self._trial()
        self.gives[-1] = sorted(range(len(maps)), key=lambda i: -maps[i].shape[-1])
        maps = [maps[i] for i in self.gives[-1]]
        strides = [2**k for k in range(self.in_strides[-1].bit_length())]
        stride_of = {self._padded_size_at(stride, PROBE): stride for stride in strides}
        sizes = [tuple(x.shape[-2:]) for x in maps]
        coarsest = min(stride_of)
        if any(size >= coarsest and size not in stride_of for size in sizes):
            raise ValueError(f'its maps have the sizes {sizes}, and not some of {list(stride_of)}')
        self.widths = [x.shape[1] for x in maps]
        self.strides = [stride_of.get(size, 0) for size in sizes]

    def _trial(self) -> list[Tensor]:
        """What the necks make of small empty features."""
        sizes = [self.size_at(stride, PROBE) for stride in self.in_strides]
        features = [
            torch.zeros(1, width, *size, device=self.device)
            for width, size in zip(self.in_channels, sizes)
        ]
        self.eval().to(self.device)
        maps = self._run(features)
        self.train()
        return maps

    def train_for(self, read: Iterable[int], unread: str) -> None:
        """Freeze the parameters that lead to none of the maps that are read.

        Without a gradient they would stop the training of several processes.

        Args:
            read: numbers of the maps.
            unread: the other ones, for the message.
        """
        device = next(self.parameters(), torch.empty(0)).device
        if device.type == 'meta' or torch.is_inference_mode_enabled():
            return
        with torch.enable_grad():  # a model may be built without
            maps = self._trial()
            total = sum(maps[i].sum() for i in read)
        if total.requires_grad:
            total.backward()
        frozen = [x for x in self.parameters() if x.requires_grad and x.grad is None]
        for parameter in self.parameters():
            parameter.grad = None
        for parameter in frozen:
            parameter.requires_grad_(False)
        self.to(device)
        if frozen and not any(x.requires_grad for x in self.parameters()):
            raise UserError(
                f'{unread} are not read, and nothing else of {type(self.necks[-1]).__name__} can '
                'be trained: leave it out.'
            )
        print_log(
            f'{unread} are not read: {sum(x.numel() for x in frozen)} parameters that lead to '
            'those alone are frozen.',
            'current',
        )


def _flat(output: object) -> list[Tensor]:
    """All maps of an output; of mmdet's pixel decoders, those of the masks come first."""
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return [x for one in output for x in _flat(one)]
    if not isinstance(output, Tensor) or output.dim() != 4:
        raise TypeError('it gives something else than maps (B, C, H, W)')
    return [output]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the hundreds of lines that mmengine logs about the weights of a neck."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
