"""Watches over the processes that train together: none goes on alone, and none waits for ever."""

import atexit
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import mmengine
import torch.distributed
from torch.distributed import DistError, PrefixStore
from torch.distributed.distributed_c10d import _get_default_store

from cmt_deeplab.errors import UserError

from .stop_signals import end_process

TICK = 1.0  # second; idle times are counted in ticks, so that a suspended job has not been idle
TIMEOUT = 300.0  # default of env_cfg.dist_cfg.timeout
SLOW = 6  # times as long may last what is done once, or by one process for all
LONGEST = 10**6  # seconds that the libraries below torch can count in milliseconds
DONE = [math.inf]  # the place of a process that has finished its part
LIBRARIES = tuple(str(Path(package.__file__).parent) for package in (torch, mmengine))
LIBRARIES += (threading.__file__,)


def longest_wait(timeout: float | None) -> timedelta:
    """The limit of a collective operation itself, which the watch comes before.

    Raises:
        UserError: ``timeout`` is no number of seconds.
    """
    if timeout is not None and timeout <= 0:
        raise UserError(f'env_cfg.dist_cfg.timeout is {timeout}; give a number of seconds above 0.')
    return timedelta(seconds=min((timeout or TIMEOUT) * SLOW + 60, LONGEST))


def _own_line() -> str:
    """The line that the main thread has reached; empty where it may wait for other processes."""
    frame, waits = sys._current_frames().get(threading.main_thread().ident), False
    while frame is not None and frame.f_code.co_filename.startswith(LIBRARIES):
        waits |= frame.f_code.co_name == 'backward' or 'distributed' in frame.f_code.co_filename
        frame = frame.f_back
    if frame is None or waits:
        return ''
    return f' ({Path(frame.f_code.co_filename).name}, line {frame.f_lineno})'


class RankWatch(threading.Thread):
    """A thread that ends this process when it cannot go on with the others.

    That is when its launcher has gone, when another process has ended, and when all stand still.
    The processes tell each other through the store of the process group, so nothing waits for a
    GPU. The first that finds a reason says it, and the others end silently.

    Where all stand still, the process that is furthest behind keeps the others waiting. It is named
    when that has lasted for ``timeout`` seconds and for twice the time that the same work has taken
    before. Six times as long may last what is done for the first time, such as an iteration that
    compiles, and what one process does for all, such as a checkpoint.

    Args:
        timeout: In seconds.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._rank = torch.distributed.get_rank()
        self._ranks = range(torch.distributed.get_world_size())
        self._host = socket.gethostname()
        super().__init__(
            daemon=True, name=f'Rank {self._rank} of {len(self._ranks)} ({self._host})'
        )
        self.timeout = timeout or TIMEOUT
        self._store = PrefixStore('cmt_deeplab', _get_default_store())
        self._launcher, self._closed = os.getppid(), threading.Event()
        self._runs, self._active = 0, False
        self._beats = self._idle = 0
        self._work = dict(place=[0], doing='starting', of='', slow=True)
        self._longest: dict[str, int] = {}  # ticks, by what was done
        self._former: list[dict] = []  # what all told some ticks ago
        atexit.register(self.close)

    @contextmanager
    def over_a_run(self) -> Iterator[None]:
        """Around training or an evaluation, which all processes begin together."""
        self._runs += 1
        self.now([0], 'starting', slow=True)
        self._active = True
        try:
            yield
            self.now(DONE, 'ending')
        finally:
            self._active = False

    def now(self, place: list[int], doing: str, *, of: str = '', slow: bool = False) -> None:
        """Tell what this process does from now on.

        Args:
            place: Grows in the course of a run, in all processes alike.
            doing: The kind of work, such as 'reading the images of iteration '.
            of: Of what, such as the number of the iteration.
            slow: Whether the work may take long at any time.
        """
        doing_before = self._work['doing']
        self._longest[doing_before] = max(self._idle, self._longest.get(doing_before, 0))
        slow = slow or doing not in self._longest
        self._work, self._idle = dict(place=place, doing=doing, of=of, slow=slow), 0

    def agreed_to_stop(
        self, asked: signal.Signals | None, iterations: int, margin: int
    ) -> signal.Signals | None:
        """After an iteration: the signal with which all processes end now, if one of them got it.

        Args:
            asked: What this process got.
            iterations: How many this process has finished.
            margin: How many further iterations another process may have finished by now.
        """
        key = f'stop/{self._runs}'
        try:
            if asked:
                self._store.compare_set(key, '', f'{iterations + margin} {int(asked)}')
            if self._store.check([key]):
                last, number = map(int, self._store.get(key).split())
                if iterations >= last:
                    return signal.Signals(number)
        except DistError:
            self._lost()
        return None

    def may_speak(self, status: int) -> bool:
        """Tell the others that this process ends; False where one has ended before.

        From here on the watch does not end this process, which has something to say.
        """
        self._closed.set()
        try:
            return self._ends_first(status)
        except DistError:  # the store's process is gone
            return True

    def _ends_first(self, status: int) -> bool:
        """Whether this thread of this process is the first of all that ends the run."""
        mine = json.dumps([self._rank, status, threading.get_ident()])
        return self._store.compare_set('end', '', mine).decode() == mine

    def has_ended(self) -> bool:
        """Whether one process has told the others that it ends, or all contact is lost."""
        try:
            return self._store.check(['end'])
        except DistError:
            return True

    def close(self) -> None:
        """End the watch."""
        self._closed.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(timeout=2 * TICK)

    def run(self) -> None:
        while not self._closed.wait(TICK):
            try:
                if os.getppid() != self._launcher:
                    self._lost()
                self._look()
            except DistError:
                if not self._closed.wait(5 * TICK):  # for the main thread, which may say more
                    self._lost()
        if self._work['place'] == DONE:
            with suppress(DistError):
                self._tell()

    def _lost(self) -> NoReturn:
        """End a process that has lost its launcher, or the store, which a launcher may keep."""
        time.sleep(TICK)  # for the parent to be seen gone
        gone = os.getppid() != self._launcher
        who = 'The launcher of this run' if gone else 'Rank 0 of this run, or its launcher,'
        speaks = os.environ.get('LOCAL_RANK', '0') == '0'
        sentence = f'Error: {who} has ended, and so do its processes; go on with --resume.'
        end_process(1, sentence if speaks else None)

    def _tell(self) -> None:
        """Tell the others where this process is."""
        line = _own_line() if self._idle > 2 else ''
        told = dict(beats=self._beats, idle=self._idle, line=line, host=self._host)
        self._store.set(f'rank/{self._rank}', json.dumps(self._work | told))

    def _look(self) -> None:
        """Tell the others where this process is, and see what they tell."""
        self._beats, self._idle = self._beats + 1, self._idle + 1
        self._tell()
        if self._store.check(['end']) and not self._closed.is_set():
            end_process(json.loads(self._store.get('end'))[1])
        keys = [f'rank/{rank}' for rank in self._ranks]
        looks = max(3, self.timeout // 10)  # a library may keep a thread from answering for a while
        if self._active and self._idle > self.timeout and self._idle % looks == 0:
            if self._store.check(keys):
                found = [json.loads(self._store.get(key)) for key in keys]
                self._judge(found)
                self._former = found

    def _judge(self, found: list[dict]) -> None:
        """End the run where a process keeps the others waiting for too long."""
        if not self._former:
            return
        going = [r for r in self._ranks if found[r]['place'] != DONE]
        silent = [r for r in going if found[r]['beats'] == self._former[r]['beats']]
        last = min(each['place'] for each in found)
        behind = silent or [r for r in self._ranks if found[r]['place'] == last]
        behind = [r for r in behind if found[r]['line']] or behind
        idle = min([self._idle, *(found[r]['idle'] for r in behind if not silent)])
        work = found[behind[0]]
        usual = self._longest.get(work['doing'], 0)
        if idle <= max(self.timeout, 2 * usual) * (SLOW if work['slow'] and not silent else 1):
            return
        names = ', '.join(f'{r} ({found[r]["host"]})' for r in behind)
        told = 'has not answered for {} s, last' if silent else 'has stood still for {} s,'
        if self._ends_first(1):
            sentence = (
                f'Error: Rank {names} of {len(self._ranks)} {told.format(idle)} {work["doing"]}'
                f'{work["of"]}{work["line"]}: find out why, or give it more time with '
                f'env_cfg.dist_cfg.timeout (now {self.timeout:g} s).'
            )
            print(sentence, file=sys.stderr, flush=True)
            time.sleep(2 * TICK)  # the others read the end in the store, which may be here
        end_process(1)


_present: RankWatch | None = None


def rank_watch() -> RankWatch | None:
    """The watch of this process, if it is one of several."""
    return _present


def start_watch(timeout: float | None) -> None:
    """Begin to watch over this process, once; the process group is there."""
    global _present
    if _present is None:
        _present = RankWatch(timeout)
        _present.start()
