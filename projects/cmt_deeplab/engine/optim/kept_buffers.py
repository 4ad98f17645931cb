"""The buffers of a model, such as the statistics of norms, as they were before a training step."""

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class KeptBuffers:
    """A copy of all buffers of a model, in one tensor for each dtype and device."""

    def __init__(self, model: nn.Module) -> None:
        places = defaultdict(list)
        for prefix, module in model.named_modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and 0 not in buffer.stride():  # of an expanded one
                    place = module, name, f'{prefix}.{name}'.lstrip('.'), buffer.shape
                    places[buffer.dtype, buffer.device].append(place)
        self._groups = [(group, _flat(_present(group))) for group in places.values()]

    def values(self) -> dict[str, Tensor]:
        """The kept values by the name of the buffer."""
        return {
            name: value
            for group, kept in self._groups
            for (_, _, name, _), value in zip(group, _parts(kept, group))
        }

    def _now(self) -> Iterator[tuple[list[Tensor], Tensor, Tensor, list[tuple]]]:
        """By dtype and device: present buffers, former and present values in one tensor, places.

        The forward pass may have put another buffer of the same shape in the place of one.
        """
        for group, kept in self._groups:
            present = _present(group)
            if [buffer.shape for buffer in present] == [shape for *_, shape in group]:
                yield present, kept, _flat(present).to(kept), group

    @torch.no_grad()
    def finite(self) -> list[Tensor]:
        """By dtype and device: whether no finite number of a buffer has become inf or nan."""
        return [(now.isfinite() | ~before.isfinite()).all() for _, before, now, _ in self._now()]

    @torch.no_grad()
    def take_back(self, chosen: Tensor) -> None:
        """Give the buffers their former values where the one boolean ``chosen`` is true."""
        for present, before, now, group in self._now():
            values = torch.where(chosen.to(before.device), before, now)
            torch._foreach_copy_(present, _parts(values, group))


def _present(group: list[tuple]) -> list[Tensor]:
    return [module._buffers[name].detach() for module, name, *_ in group]


def _parts(numbers: Tensor, group: list[tuple]) -> list[Tensor]:
    shapes = [shape for *_, shape in group]
    pieces = numbers.split([shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes)]


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
