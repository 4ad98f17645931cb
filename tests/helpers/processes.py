"""A group of gloo processes, each a fork of this process, which has all imports."""

import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from cmt_deeplab.engine.distributed import init_process_group
from forks import in_forks


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def in_processes(count: int, work: Callable, *arguments: Any) -> list:
    """What ``work(*arguments)`` returns in each of ``count`` processes, in the order of the ranks.

    Raises:
        AssertionError: a process failed; the message is its trace.
    """
    port = free_port()

    def one(sender: Connection, rank: int) -> None:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
        )
        torch.set_num_threads(1)
        try:
            # the backend is the config's word for GPUs: gloo here
            init_process_group(launcher='pytorch', backend='nccl', timeout=600)
            answer = pickle.dumps(work(*arguments)), None
            torch.distributed.barrier()  # no process ends while another one still talks to it
        except BaseException:
            answer = None, traceback.format_exc()
        sender.send(answer)

    found = {}
    for rank, sent, code, _ in in_forks(one, range(count), jobs=count, longest=600):
        result, trace = sent or (None, f'process {rank} ended with {code}')
        assert trace is None, trace
        found[rank] = pickle.loads(result)
    return [found[rank] for rank in range(count)]
