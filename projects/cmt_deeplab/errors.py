"""Mistakes of the user, and how a command line ends on one: with one sentence and exit code 1.

Every error that this package raises because of a wrong config, file or argument is a :class:`UserError`.
All other errors are faults of the code and keep their stack trace.
"""

import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS_TO_BE_ENDED = 5


class UserError(ValueError):
    """A mistake of the user; the message is one sentence that names the file or key and the remedy."""


class MissingFileError(UserError, FileNotFoundError):
    """A file that the user named does not exist or cannot be fetched."""


class MissingPackageError(UserError, ModuleNotFoundError):
    """An optional package is not installed; the message names the command that installs it."""


def _sentence(error: UserError) -> str:
    """The message; where a data-loading process sent the error, the last line of the text it sent."""
    text = str(error)
    if 'Original Traceback' not in text:
        return text
    return re.findall(r'^(?:\w+\.)*\w*Error: (.*)$', text, re.MULTILINE)[-1]


def _from_construction(error: BaseException) -> str | None:
    """A sentence where the registry of mmengine could not build what the config describes."""
    frames = traceback.walk_tb(error.__traceback__)
    files = [Path(frame.f_code.co_filename) for frame, _ in frames]
    if not any(file.parent.name == 'registry' for file in files):
        return None
    unknown = re.search(r'(\w+) is not in the ([\w:]+) registry', str(error))
    if isinstance(error, KeyError) and unknown:
        return (
            f'The config names the type {unknown[1]}, which the registry {unknown[2]} does not have: '
            'correct it, or import its module in custom_imports.'
        )
    argument = re.search(
        r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error)
    )
    if isinstance(error, TypeError) and argument:
        return (
            f"The config gives {argument[1]} the key '{argument[2]}', which it does not take: "
            'correct or remove it.'
        )
    absent = re.search(r'(\w+)\.__init__\(\) missing \d+ required .*arguments?: (.+)', str(error))
    if isinstance(error, TypeError) and absent and files[-1].parent.name == 'registry':
        return f'The config does not give {absent[1]} its {absent[2]}: add it.'
    return None


def user_sentence(error: BaseException | None) -> str | None:
    """The sentence to show to the user, or None where the error is a fault of the code."""
    while error is not None:
        sentence = _sentence(error) if isinstance(error, UserError) else _from_construction(error)
        if sentence:
            return sentence
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def report_user_errors() -> Iterator[None]:
    """Around the body of a command line: prints a user's mistake as one sentence and exits with code 1.

    Other errors pass through. In a distributed run all processes mostly fail alike: the first process
    prints at once, the others after a moment, in which the launcher ends them where the first has
    failed too.
    """
    try:
        yield
    except Exception as error:
        sentence = user_sentence(error)
        if sentence is None:
            raise
        sys.stdout.flush()
        from mmengine.dist import get_rank

        if int(os.environ.get('RANK', get_rank())) > 0:
            time.sleep(SECONDS_TO_BE_ENDED)
        print(f'Error: {sentence}', file=sys.stderr)
        sys.exit(1)
