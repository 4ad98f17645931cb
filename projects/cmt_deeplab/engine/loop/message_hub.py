"""mmengine's record of losses and times, which does not wait for the GPU."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor

MOST_WAITING = 1000  # numbers of one name, which are settled at last even if nobody reads them


class PanopticMessageHub(MessageHub):
    """A hub whose numbers wait, each on its device, until somebody reads their history.

    mmengine waits for the GPU for each number of each iteration, and copies its whole history.
    Here all that wait are copied to the host at once, when the logger or a checkpoint reads them.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._waiting: dict[str, list] = defaultdict(list)  # by name: values and their counts

    def update_scalar(self, key: str, value: Any, count: int = 1, resumed: bool = True) -> None:
        """As in mmengine."""
        self._set_resumed_keys(key, resumed)
        if isinstance(value, Tensor) and value.numel() == 1:
            computed = value.grad_fn is not None and value._base is None
            value = value.detach().view(())
            # else a copy, as a buffer may change in place and a view may hold a large tensor
            value = value if computed else value.clone()
        else:
            value = self._get_valid_value(value)
        self._waiting[key].append((value, count))
        if len(self._waiting[key]) >= MOST_WAITING:
            self._settle([key])

    def _settle(self, keys: Iterable[str]) -> None:
        """Append the waiting numbers of these names to their histories."""
        rows = {key: self._waiting.pop(key) for key in list(keys)}
        tensors = [x for row in rows.values() for x, _ in row if isinstance(x, Tensor)]
        numbers = iter(())
        if tensors:
            device = tensors[0].device
            numbers = iter(torch.stack([x.float().to(device) for x in tensors]).tolist())
        for key, row in rows.items():
            values = [next(numbers) if isinstance(x, Tensor) else x for x, _ in row]
            counts = [count for _, count in row]
            history = self._log_scalars.get(key)
            if history is None:
                self._log_scalars[key] = HistoryBuffer(values, counts)
                continue
            history._log_history = np.append(history._log_history, values[:-1])
            history._count_history = np.append(history._count_history, counts[:-1])
            history.update(values[-1], counts[-1])  # which cuts a history that is too long

    @property
    def log_scalars(self) -> dict[str, HistoryBuffer]:
        """All histories."""
        self._settle(self._waiting)
        return self._log_scalars

    def get_scalar(self, key: str) -> HistoryBuffer:
        """The history of one name."""
        self._settle({key} & self._waiting.keys())
        return self._log_scalars[key] if key in self._log_scalars else super().get_scalar(key)

    def state_dict(self) -> dict:
        """As in mmengine."""
        self._settle(self._waiting)
        return super().state_dict()

    def load_state_dict(self, state_dict: MessageHub | dict) -> None:
        """As in mmengine."""
        self._settle(self._waiting)
        super().load_state_dict(state_dict)
