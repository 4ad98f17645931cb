"""The values of fake tensors that follow from the shapes of others, as mmdet's decoders read them.

They are kept in the attribute ``known`` of the fake tensor.
"""

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._pytree import tree_map_only

from .cost import tensors


def shape_as_tensor(tensor: Tensor) -> Tensor:
    """``torch._shape_as_tensor``, which would read the memory of a fake tensor."""
    shape = torch.tensor([*tensor.shape])
    with unset_fake_temporarily():
        shape.known = torch.tensor([*tensor.shape])
    return shape


def follow(func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    """Compute the values of the result of an operator whose arguments are all known."""
    read = tensors(args, kwargs)
    if read and all(hasattr(tensor, 'known') for tensor in read):
        kwargs = {key: value for key, value in kwargs.items() if key != 'device'}
        args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.known, (args, kwargs))
        with unset_fake_temporarily():
            for tensor, values in zip(tensors(out), tensors(func(*args, **kwargs))):
                tensor.known = values


def known_number(tensor: Tensor) -> int | float | bool | None:
    if hasattr(tensor, 'known'):
        with unset_fake_temporarily():
            return tensor.known.item()
    return None
