"""Checks of what a checkpoint holds: before its objects are made, and afterwards.

Reading a small file could otherwise break the process, or take all memory.
"""

import pickletools
from collections import Counter, OrderedDict
from math import prod
from typing import IO, Any

from torch import Tensor

LARGEST_TUPLE = 30_000  # with all tuples in it: they are hashed by recursion, when one is a key
DEEPEST = 100  # levels of nested dicts, lists and tuples
# Bytes of all tensors of a file, of which several may show the same numbers.
SHARED, SMALL = 4, 2**28
STATE_OF_A_PARAMETER = 6  # before torch 0.4: five values, none of which is a tuple


class RefusedError(Exception):
    """A checkpoint is not read; the message completes the sentence that begins with 'because'."""


def check_instructions(file: IO) -> None:
    """Follow the instructions of a pickle, with the sizes of its tuples in the place of objects.

    Raises:
        RefusedError: a tuple is so large, or so deep, that hashing it could break the process or
            take hours; or the data of a finished tensor are exchanged.
    """
    # of what a global name makes the name, of tuples their size with all tuples in them, else 1
    stack, marks, kept = [], [], {}
    for opcode, argument, _ in pickletools.genops(file):
        name, before = opcode.name, opcode.stack_before
        if name.endswith('PUT'):
            kept[argument] = stack[-1]
        elif name.endswith('GET'):
            stack.append(kept[argument])
        elif name == 'MARK':
            marks.append(len(stack))
        else:
            begin = len(stack) - len(before)
            if pickletools.markobject in before:
                begin = marks.pop() - before.index(pickletools.markobject)
            taken = stack[begin:]
            made = taken[0] if taken else argument if name == 'GLOBAL' else 1
            if 'TUPLE' in name:
                made = 1 + sum(part if isinstance(part, int) else 1 for part in taken)
                if made > LARGEST_TUPLE:
                    raise RefusedError(f'it holds a tuple of more than {LARGEST_TUPLE:,} entries')
            if name == 'BUILD' and str(made).startswith('torch'):
                if made != 'torch.nn.parameter Parameter' or taken[1] != STATE_OF_A_PARAMETER:
                    raise RefusedError('it exchanges the data of a finished tensor')
            stack[begin:] = [made] * len(opcode.stack_after)


def check_content(content: Any, *, file_size: int) -> None:
    """Check that what was read is not much larger than the file, and take the attributes of dicts.

    Those could stand for the methods of a dict; the versions of modules in a state dict stay.

    Raises:
        RefusedError: it is too deep or too large.
    """
    seen, size, level, values = set(), 0, 0, [content]
    while values:
        inner: list = []
        for value in values:
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, OrderedDict | Counter):
                versions = vars(value).get('_metadata')
                vars(value).clear()
                if isinstance(versions, dict) and all(type(v) is dict for v in versions.values()):
                    value._metadata = dict(versions)
            if isinstance(value, dict):
                inner += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple | set):
                inner += value
            elif isinstance(value, Tensor):
                size += prod(value.shape) * value.element_size()
        level, values = level + 1, inner
        if level > DEEPEST:
            raise RefusedError(f'its values are nested more than {DEEPEST} levels deep')
    if size > SHARED * file_size + SMALL:
        raise RefusedError(f'its tensors would take {size:,} bytes, and the file has {file_size:,}')
