"""Checks of what a checkpoint holds: before its objects are made, and afterwards.

Reading a small file could otherwise take all memory or time, or break the process.
"""

import pickletools
from collections.abc import Mapping, Sequence
from math import prod
from types import FunctionType
from typing import IO, Any

from torch import Tensor

LARGEST_TUPLE = 30_000  # with all tuples in it: they are hashed by recursion, when one is a key
MOST_KEYS = 10_000  # of which each may have to be compared with each
DEEPEST, LARGEST = 100, 10**7  # of nested dicts, lists and tuples: levels, and entries in all
# Bytes of all tensors of a file, of which several may show the same numbers.
SHARED, SMALL = 4, 2**28


class RefusedError(Exception):
    """A checkpoint is not read; the message completes the sentence that begins with 'because'."""


class Unfinished:
    """The base of what stands for an object while it is made, and is no value itself."""


def check_instructions(file: IO) -> None:
    """Follow the instructions of a pickle, with the sizes of its tuples in the place of objects.

    Raises:
        RefusedError: the keys of dicts could take hours or break the process, as hashing a tuple
            goes through all tuples in it by recursion, and different tuples or large numbers can
            have the same hash; or the data of a finished tensor are exchanged.
    """
    # of tuples their length and their size with all tuples in them, of all else what makes it
    stack, marks, kept = [], [], {}
    slow_keys = 0
    for opcode, argument, _ in pickletools.genops(file):
        name, before = opcode.name, opcode.stack_before
        if name.endswith('PUT'):
            kept[argument] = stack[-1]
            continue
        if name.endswith('GET'):
            stack.append(kept[argument])
            continue
        if name == 'MARK':
            marks.append(len(stack))
            continue
        begin = len(stack) - len(before)
        if pickletools.markobject in before:
            begin = marks.pop() - before.index(pickletools.markobject)
        taken = stack[begin:]
        del stack[begin:]
        made = taken[0] if taken else argument if name == 'GLOBAL' else name
        if 'TUPLE' in name:
            made = len(taken), 1 + sum(part[1] if isinstance(part, tuple) else 1 for part in taken)
            if made[1] > LARGEST_TUPLE:
                raise RefusedError(f'it holds a tuple of more than {LARGEST_TUPLE:,} entries')
        if name.startswith('SETITEM'):
            slow_keys += sum(isinstance(key, tuple) or key == 'LONG1' for key in taken[1::2])
            if slow_keys > MOST_KEYS:
                raise RefusedError(
                    f'it has more than {MOST_KEYS:,} keys that are tuples or large numbers'
                )
        if name == 'BUILD' and str(made).startswith('torch'):
            # a parameter of torch before 0.4 gets five values, the first of which is a tensor
            if made != 'torch.nn.parameter Parameter' or taken[1][0] != 5:
                raise RefusedError('it exchanges the data of a finished tensor')
        if opcode.stack_after:
            stack.append(made)


def check_content(content: Any, *, file_size: int) -> None:
    """Check that what was read consists of plain values that are not much larger than the file.

    Raises:
        RefusedError: it holds something else, contains itself, or is too deep or too large.
    """
    known: dict[int, tuple[int, int]] = {}
    tensors: dict[int, int] = {}

    def measure(value: Any, level: int) -> tuple[int, int]:
        """Levels below ``value``, and the entries in all of them."""
        depth, entries = known.get(id(value), (0, 1))
        if id(value) not in known and level <= DEEPEST:
            parts = _parts(value)
            for part in parts:
                below = measure(part, level + 1)
                depth, entries = max(depth, below[0] + 1), entries + below[1]
            if parts:
                known[id(value)] = depth, entries
        if level + depth > DEEPEST or entries > LARGEST:
            raise RefusedError(
                f'its values are nested more than {DEEPEST} levels deep, contain themselves, or '
                f'are more than {LARGEST:,}'
            )
        if isinstance(value, Tensor):
            tensors[id(value)] = prod(value.shape) * value.element_size()
        return depth, entries

    measure(content, 0)
    if sum(tensors.values()) > SHARED * file_size + SMALL:
        raise RefusedError(
            f'its tensors would take {sum(tensors.values()):,} bytes, and the file has '
            f'{file_size:,}'
        )


def _parts(value: Any) -> Sequence:
    """What a container or slice holds."""
    if isinstance(value, type | FunctionType | Unfinished):
        name = getattr(value, '__name__', type(value).__name__).lstrip('_')
        raise RefusedError(f"it holds the Python object '{name}', which is no data")
    if isinstance(value, Mapping):
        attributes = getattr(value, '__dict__', {})
        versions = attributes.get('_metadata', {})  # which a state dict has, of its modules
        plain = isinstance(versions, dict) and all(isinstance(v, dict) for v in versions.values())
        if attributes.keys() - {'_metadata'} or not plain:
            raise RefusedError('it holds a dict with attributes that are not those of a state dict')
        return [*value.keys(), *value.values(), *versions.values()]
    if isinstance(value, slice):
        return value.start, value.stop, value.step
    return list(value) if isinstance(value, list | tuple | set) else ()
