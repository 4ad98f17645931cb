"""What mmdet's ResNet does to its stages, for other backbones too."""

from collections.abc import Iterable, Sequence
from typing import Self

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.recompute import recompute_always

NOTHING_FROZEN = -1


def check_frozen_stages(value: object, last: int, name: str) -> None:
    """Raise a :class:`UserError` unless the backbone ``name`` has that many stages to freeze."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not NOTHING_FROZEN <= value <= last:
        raise UserError(
            f'frozen_stages of {name} is -1 (none), 0 (the stem) or up to {last} (the stem and '
            f'{last} stages), not {value!r}.'
        )


class FrozenMixin:
    """Parts of a module that neither learn nor change in training."""

    def freeze(self, parts: Sequence[nn.Module | nn.Parameter]) -> None:
        """From now on the parts have no gradient and stay as in evaluation.

        This includes batch statistics, dropout and drop path.
        """
        self._frozen = [*getattr(self, '_frozen', ()), *parts]
        for part in parts:
            part.requires_grad_(False)
        FrozenMixin.train(self, self.training)

    def train(self, mode: bool = True) -> Self:
        """As in torch, but what is frozen stays in evaluation."""
        super().train(mode)
        for part in getattr(self, '_frozen', ()):
            if isinstance(part, nn.Module):
                part.eval()
        return self


class StagesMixin(FrozenMixin):
    """``frozen_stages``, ``norm_eval`` and ``with_cp`` of a backbone, as mmdet's ResNet has them.

    A class calls ``set_stages`` at the end of its constructor.
    """

    def set_stages(
        self,
        stages: Sequence[Sequence[nn.Module | nn.Parameter]],
        blocks: Iterable[nn.Module],
        *,
        frozen_stages: int,
        norm_eval: bool,
        with_cp: bool,
    ) -> None:
        """Freeze the first stages, and let the blocks be recomputed.

        Args:
            stages: what the stem and then each stage consists of.
            blocks: those that ``with_cp`` concerns.
            frozen_stages: -1 freezes nothing, 0 the stem, k also the first k stages.
            norm_eval: whether batch norms normalize with their running averages and leave them.
            with_cp: whether the activations of blocks are computed again in the backward pass.

        Raises:
            UserError: there are not as many stages.
        """
        check_frozen_stages(frozen_stages, len(stages) - 1, type(self).__name__)
        self.frozen_stages, self.norm_eval, self.with_cp = frozen_stages, norm_eval, with_cp
        self.freeze([part for stage in stages[: frozen_stages + 1] for part in stage])
        for block in blocks if with_cp else ():
            recompute_always(block)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As in torch, but what is frozen stays in evaluation, as do norms with ``norm_eval``."""
        super().train(mode)
        if getattr(self, 'norm_eval', False):
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
