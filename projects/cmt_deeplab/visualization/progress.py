"""Progress on a terminal and in a log file: how far, how fast, how long still."""

import shutil
import sys
import time
from typing import TextIO


def duration(seconds: float) -> str:
    """``45 s``, ``6:20`` (minutes) or ``2:05:00`` (hours)."""
    seconds = max(0, int(round(seconds)))
    if seconds < 60:
        return f'{seconds} s'
    minutes, rest = divmod(seconds, 60)
    return (
        f'{minutes}:{rest:02d}'
        if minutes < 60
        else f'{minutes // 60}:{minutes % 60:02d}:{rest:02d}'
    )


class ProgressLine:
    """One line that is rewritten in place on a terminal; elsewhere a line of its own every ``quiet_interval`` seconds.

    ``update(done, note)`` may be called as often as one likes: at most five times a second something is printed.
    """

    def __init__(
        self,
        *,
        name: str,
        total: int,
        stream: TextIO | None = None,
        quiet_interval: float = 30.0,
        width: int = 24,
    ) -> None:
        self.name, self.total, self.width = name, total, width
        self.stream = sys.stdout if stream is None else stream
        self.live = self.stream.isatty()
        self.interval = 0.2 if self.live else quiet_interval
        self.started = time.monotonic()
        self._printed = (
            self.started - self.interval + (2.0 if self.live else 5.0)
        )  # what is over sooner needs no bar
        self._longest = 0
        self._finished = False

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def text(self, done: int, note: str = '', eta: float | None = None) -> str:
        """The line itself. ``eta`` in seconds; without it the mean speed so far is extrapolated."""
        if eta is None and done > 0:
            eta = self.elapsed * (self.total - done) / done
        share = min(1.0, done / max(1, self.total))
        bar = '█' * round(share * self.width) + '░' * (self.width - round(share * self.width))
        left = 'ETA ' + (duration(eta) if eta is not None else '?')
        return (
            f'{self.name}  {bar}  {done}/{self.total}' + (f'  {note}' if note else '') + f'  {left}'
        )

    def update(self, done: int, note: str = '', eta: float | None = None) -> None:
        """Tell how many of the ``total`` steps are done."""
        now = time.monotonic()
        if self._finished or now - self._printed < self.interval:
            return
        self._printed = now
        self._write(self.text(done, note, eta), end='' if self.live else '\n')

    def finish(self, note: str = '') -> None:
        """Replace the bar by one closing line with the time taken."""
        if not self._finished:
            self._finished = True
            self._write(
                f'{self.name}  done in {duration(self.elapsed)}' + (f'  {note}' if note else ''),
                end='\n',
            )

    def note(self, text: str) -> None:
        """A line that stays, above the bar."""
        self._write(text, end='\n')

    def clear(self) -> None:
        """Take the bar away and leave nothing behind."""
        if self.live and not self._finished:
            self._write('', end='\r')
        self._finished = True

    def _write(self, text: str, end: str) -> None:
        if not (getattr(self.stream, 'encoding', None) or 'utf-8').lower().startswith('utf'):
            text = text.replace('█', '#').replace('░', '.')
        if self.live:  # a line that wraps cannot be rewritten
            text = text[: shutil.get_terminal_size().columns - 1]
        padded = text.ljust(self._longest) if self.live else text
        self._longest = 0 if end == '\n' else len(text)
        self.stream.write(('\r' if self.live else '') + padded + end)
        self.stream.flush()
