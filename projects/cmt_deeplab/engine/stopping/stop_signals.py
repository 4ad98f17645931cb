"""Signals that ask a run to stop: the first is noted, another one ends the process at once."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, NoReturn

# those of schedulers, of Ctrl-C and of a closed terminal, as far as the system has them
ASKING_TO_STOP = [
    getattr(signal, name)
    for name in ('SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGHUP')
    if hasattr(signal, name)
]
# A signal may come twice, from the scheduler and from torchrun, which sends it on.
SAME = 1.0  # second in which another signal counts as the same


_ending = threading.Lock()  # of two threads one says why


def end_process(status: int, sentence: str | None = None) -> NoReturn:
    """End this process at once, from any thread; the error output tells why."""
    _ending.acquire()
    if sentence:
        print(sentence, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class StopSignals:
    """Within the context, signals that ask to stop do not end the process where it stands.

    The first is kept in :attr:`asked`, and the run ends when it next looks there. Another one, a
    second or more later, ends the process at once, even one that hangs in a library, as a thread
    waits for it. Handlers that the program has set itself stay, and so does an ignored SIGHUP
    (nohup). Outside the main thread nothing happens, as Python handles signals there alone.

    Args:
        at_once: Whether the first signal ends the process already, for what needs no checkpoint.
        on_first: Called with the first signal, in the thread.
    """

    def __init__(
        self, *, at_once: bool = False, on_first: Callable[[signal.Signals], None] | None = None
    ) -> None:
        self.asked: signal.Signals | None = None
        self.at_once, self.on_first = at_once, on_first
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> 'StopSignals':
        if threading.current_thread() is threading.main_thread():
            for number in ASKING_TO_STOP:
                present = signal.getsignal(number)
                ours = isinstance(getattr(present, '__self__', None), StopSignals)
                ignored = present is signal.SIG_IGN and number == signal.SIGINT  # by a shell's '&'
                if ours or ignored or present in (signal.SIG_DFL, signal.default_int_handler):
                    self._replaced[number] = signal.signal(number, self._note)
        if self._replaced:
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            descriptor = self._writer.fileno()
            self._old_descriptor = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
            threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._replaced:
            signal.set_wakeup_fd(self._old_descriptor)
            for number, handler in self._replaced.items():
                signal.signal(number, handler)
            self._writer.close()  # which ends the thread

    def _note(self, number: int, _: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number)

    def _listen(self) -> None:
        """Receive the numbers of signals, also while the main thread is in a library."""
        first = None
        with self._reader:
            while number := self._reader.recv(1):
                if number[0] not in self._replaced:
                    continue
                received, now = signal.Signals(number[0]), time.monotonic()
                if self.at_once or (first is not None and now - first > SAME):
                    self._end(received)
                elif first is None:
                    first = now
                    if self.on_first:
                        self.on_first(received)

    @staticmethod
    def _end(received: signal.Signals) -> None:
        # one process speaks, and under torchrun the launcher does
        first = os.environ.get('RANK', '0') == '0' and 'TORCHELASTIC_RUN_ID' not in os.environ
        sentence = f'Ended at once by {received.name}.' if first else None
        end_process(128 + received, sentence)


def shielded(worker_init: Callable[[int], None] | None) -> Callable[[int], None]:
    """The ``worker_init_fn`` of loading processes that only the training process ends.

    A signal often reaches them too, and would end them before the last checkpoint is written.
    """
    return partial(_init_worker, worker_init)


def _init_worker(worker_init: Callable[[int], None] | None, worker: int) -> None:
    signal.set_wakeup_fd(-1)
    # Errors of the data set go to the training process. What comes here is of a thread that sends
    # tensors, where the training process is gone.
    sys.excepthook = lambda *_: None
    for number in ASKING_TO_STOP:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'sigtimedwait'):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey, args=(os.getppid(),), daemon=True).start()
    if worker_init is not None:
        worker_init(worker)


def _obey(parent: int) -> None:
    """End this loading process when the process that started it says so, or is gone."""
    master = multiprocessing.parent_process().pid  # another than the parent with a fork server
    while os.getppid() == parent:
        received = signal.sigtimedwait({signal.SIGTERM}, 1.0)
        if received is not None and received.si_pid == master:
            break
    os._exit(0)
