"""Programs in forks of this process: they are killed, stopped or fed with what is broken."""

import atexit
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import free_port

from .judge import Ended

LONGEST = 60  # seconds that a program may take


class Attempt:
    """A program that runs in a fork of this process as in a process, and a group, of its own.

    Args:
        act: what the program does. It ends as a Python program does: with its exit code, or with
            a stack trace and the code 1.
        name: of the two files for the output, in the working directory.
        environment: variables that the program has besides.
    """

    def __init__(self, act: Callable[[], Any], name: str, environment: dict = {}) -> None:
        self.streams = [Path(f'{name}.{ending}').absolute() for ending in ('out', 'err')]
        for path in self.streams:
            path.touch()
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid:
            return
        code = 70  # of a failure of this script
        try:
            os.setsid()
            for number, path in enumerate(self.streams, start=1):
                os.dup2(os.open(path, os.O_WRONLY), number)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.update(environment)
            code = ends(act)
            atexit._run_exitfuncs()
        finally:
            os._exit(code)

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the program, or to all processes that it has started, too."""
        try:
            (os.killpg if group else os.kill)(self.pid, number)
        except ProcessLookupError:
            pass

    def wait(self, longest: float = LONGEST) -> Ended:
        """How the program ended; its exit code is negative where a signal ended it.

        It is None where the program had to be stopped. What it started ends with it.
        """
        pid, status, usage = 0, 0, None
        while not pid and time.monotonic() - self.began < longest:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            time.sleep(0 if pid else 0.01)
        self.send(signal.SIGKILL, group=True)
        if not pid:
            _, _, usage = os.wait4(self.pid, 0)
        out, err = (path.read_text(errors='replace') for path in self.streams)
        code = os.waitstatus_to_exitcode(status) if pid else None
        return Ended(exit_code=code, output=out, errors=err, memory=usage.ru_maxrss >> 10)


def ends(act: Callable[[], Any]) -> int:
    """The exit code that Python has when ``act`` is its program."""
    code = None
    try:
        act()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: B036  KeyboardInterrupt, too
        traceback.print_exc()
        code = 1
    finally:
        os.sys.stdout.flush()
        os.sys.stderr.flush()
    if isinstance(code, str):
        os.write(2, code.encode() + b'\n')
    return code if isinstance(code, int) else int(code is not None)


def ranks(act: Callable[[], Any], name: str, number: int = 2) -> list[Attempt]:
    """The processes of one distributed run, as torchrun would start them."""
    shared = dict(WORLD_SIZE=number, LOCAL_WORLD_SIZE=number, MASTER_PORT=free_port())
    shared['MASTER_ADDR'] = '127.0.0.1'
    environments = [dict(shared, RANK=rank, LOCAL_RANK=rank) for rank in range(number)]
    return [
        Attempt(act, f'{name}{rank}', {key: str(value) for key, value in environment.items()})
        for rank, environment in enumerate(environments)
    ]


def at_call(owner: Any, name: str, number: int, action: Callable[[], Any]) -> None:
    """Let ``action`` happen in this process when ``owner.name`` is called for the time ``number``.

    The first time is number 1.
    """
    inner, calls = getattr(owner, name), 0

    def outer(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            action()
        return inner(*args, **kwargs)

    setattr(owner, name, outer)


def on_file_event(number: int, action: Callable[[str], Any]) -> None:
    """Let ``action`` happen just before a change of the files in the work dir.

    That is the opening of a checkpoint or of ``last_checkpoint`` for writing, its renaming or its
    removal; ``number`` is which, and the first is number 1. ``action`` gets the path.
    """
    count = 0

    def hook(event: str, args: tuple) -> None:
        nonlocal count
        if event not in ('open', 'os.rename', 'os.remove') or isinstance(args[0], int):
            return
        path = os.fsdecode(args[0])
        writes = event != 'open' or args[2] & (os.O_WRONLY | os.O_RDWR)
        if writes and ('.pth' in path or 'last_checkpoint' in path):
            count += 1
            if count == number:
                action(path)

    os.sys.addaudithook(hook)
