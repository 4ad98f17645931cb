"""The records of a data set, read by one process of each machine and shared by all of them.

118,000 images of COCO take several seconds and 1.2 GB while they are read, and 97 MB afterwards.
Loading processes, which are forks, share these with the process that started them.
"""

import gc
import os.path as osp
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, barrier, get_rank, get_world_size

from cmt_deeplab.errors import UserError

_together = False  # whether all processes build the same data sets now


@contextmanager
def built_together() -> Iterator[None]:
    """A context that all processes of a run enter together, to build the same data sets."""
    global _together
    before, _together = _together, get_world_size() > 1
    try:
        yield
    finally:
        _together = before


def sharing() -> bool:
    """Whether the records of a data set may be shared among processes."""
    return _together


@contextmanager
def collector_paused() -> Iterator[None]:
    """A context without Python's garbage collector.

    It would look through all of the millions of new objects again and again, and find nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_once(dataset: Any, read: Callable[[], None]) -> None:
    """Let the first process of each machine ``read`` a data set, and the others take it over.

    All of them map the file of its records into memory. All processes call this together.

    Raises:
        UserError: that of the process that reads, in all processes.
    """
    hosts, rank = all_gather_object(socket.gethostname()), get_rank()
    reader, error, state = hosts.index(hosts[rank]), None, {}
    # Windows does not remove a file that is mapped
    with tempfile.TemporaryDirectory(prefix='records_', ignore_cleanup_errors=True) as folder:
        path = osp.join(folder, 'records.npy')
        if rank == reader:
            before = dict(vars(dataset))
            try:
                read()
            except UserError as problem:
                error = problem
            else:
                try:
                    np.save(path, dataset.data_bytes)
                except OSError:  # the disk is full: the others read by themselves
                    path = ''
                state = {
                    key: value
                    for key, value in vars(dataset).items()
                    if key != 'data_bytes'
                    # a container may have been filled in place
                    and (isinstance(value, dict | list | set) or before.get(key, ()) is not value)
                }
        path, error, state = all_gather_object((path, error, state))[reader]
        if error is not None:
            raise error
        if osp.isfile(path):
            vars(dataset).update(state, data_bytes=np.load(path, mmap_mode='r'))
        elif rank != reader:  # or it is another machine of the same name
            read()
        barrier()  # from here on the file needs no name
