"""Work on several things at a time, each in a fork of this process, which has all imports."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any


def start(target: Callable, *arguments: Any) -> tuple[Connection, BaseProcess]:
    """Start ``target(sender, *arguments)`` in a fork; what it sends comes out at the receiver."""
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sender, *arguments))
    process.start()
    sender.close()
    return receiver, process


def in_forks(
    work: Callable[[Connection, Any], None], items: Sequence, *, jobs: int, longest: float
) -> Iterator[tuple[Any, Any, int | None, float]]:
    """Each item as it ends, with what ``work(sender, item)`` sent, the exit code and the seconds.

    What was sent is None where a fork died, and so is the exit code where it was stopped after
    ``longest`` seconds. ``jobs`` items are worked on at a time.
    """
    waiting, running = list(reversed(items)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            item = waiting.pop()
            receiver, process = start(work, item)
            running[receiver] = item, process, time.monotonic()
        ended = wait(list(running), timeout=1)
        late = [r for r, (*_, begin) in running.items() if time.monotonic() - begin > longest]
        for receiver in dict.fromkeys([*ended, *late]):
            item, process, begin = running.pop(receiver)
            sent = code = None
            if receiver in ended:
                try:
                    sent, code = receiver.recv(), 0
                except EOFError:
                    process.join()
                    code = process.exitcode
            process.kill()
            process.join()
            yield item, sent, code, time.monotonic() - begin
