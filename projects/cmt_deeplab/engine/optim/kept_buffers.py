"""The buffers of a model, such as the statistics of norms, as they were before a training step."""

from collections import defaultdict

import torch
from torch import Tensor, nn


class KeptBuffers:
    """A copy of all buffers of a model, in one tensor for each dtype and device.

    One object serves a whole training, as walking through all modules takes milliseconds:
    :meth:`keep` copies the buffers before each step.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._groups: list[Group] = []
        self._owners = [module._buffers for module in model.modules()]
        self._count = -1
        self.keep()

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the buffers as they are now."""
        count = sum(buffer is not None for owner in self._owners for buffer in owner.values())
        # also after a module made a buffer in its forward pass
        if count != self._count or None in (group.present() for group in self._groups):
            self._count, places = count, defaultdict(list)
            for prefix, module in self.model.named_modules():
                for name, buffer in module._buffers.items():
                    if buffer is not None and 0 not in buffer.stride():  # of an expanded one
                        place = module._buffers, name, f'{prefix}.{name}'.lstrip('.')
                        places[buffer.dtype, buffer.device].append(place)
            self._groups = [Group(found) for found in places.values()]
        for group in self._groups:
            torch._foreach_copy_(group.before_parts, group.present())

    def values(self) -> dict[str, Tensor]:
        """The kept values by the name of the buffer."""
        return {
            name: value
            for group in self._groups
            for (_, _, name), value in zip(group.places, group.before_parts)
        }

    @torch.no_grad()
    def finite(self) -> list[Tensor]:
        """By dtype and device: whether no finite number of a buffer has become inf or nan."""
        return [
            (group.now.isfinite() | ~group.before.isfinite()).all()
            for group in self._groups
            if group.before.is_floating_point() and group.read()
        ]

    @torch.no_grad()
    def take_back(self, chosen: Tensor) -> None:
        """Give the buffers their former values where the one boolean ``chosen`` is true."""
        for group in self._groups:
            if buffers := group.read():
                chosen = chosen.to(group.now.device)
                torch.where(chosen, group.before, group.now, out=group.now)
                torch._foreach_copy_(buffers, group.now_parts)


class Group:
    """The buffers of one dtype and device, and two tensors for their former and present values."""

    def __init__(self, places: list[tuple[dict, str, str]]) -> None:
        self.places = places
        self.last = [buffers[name] for buffers, name, _ in places]
        self.forms = [_form(buffer) for buffer in self.last]
        sizes = [buffer.numel() for buffer in self.last]
        self.before, self.now = self.last[0].new_empty(2, sum(sizes))
        self.before_parts, self.now_parts = (
            [part.view_as(buffer) for part, buffer in zip(flat.split(sizes), self.last)]
            for flat in (self.before, self.now)
        )

    def present(self) -> list[Tensor] | None:
        """The buffers, or None where one has another shape, dtype or device than at first.

        The forward pass may have put another buffer of the same form in the place of one.
        """
        found = [buffers.get(name) for buffers, name, _ in self.places]
        if any(a is not b for a, b in zip(found, self.last)):
            if [_form(buffer) for buffer in found] != self.forms:
                return None
            self.last = found
        return found

    def read(self) -> list[Tensor] | None:
        """The buffers, after their values were copied into ``now``."""
        buffers = self.present()
        if buffers is not None:
            torch._foreach_copy_(self.now_parts, buffers)
        return buffers


def _form(buffer: Tensor | None) -> tuple | None:
    return buffer if buffer is None else (buffer.shape, buffer.dtype, buffer.device)
