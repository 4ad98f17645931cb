"""How a command line ends on a mistake of its user: one sentence and exit code 1, without a stack trace.

A mistake of the user is an error that this package raises on purpose, that is with a ``raise`` statement of its own, as ValueError,
KeyError, FileNotFoundError or another OSError, ImportError or RuntimeError; or a config that names a type or an argument that does not
exist. What numpy, torch or mmengine raise keeps its stack trace.
"""
import linecache
import os
import re
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

PACKAGE_DIR = Path(__file__).resolve().parent
USER_ERRORS = (ValueError, KeyError, TypeError, OSError, RuntimeError, ImportError)

SECONDS_TO_BE_ENDED = 5


def _raised_on_purpose(filename: str, source_line: str) -> bool:
    return source_line.strip().startswith('raise ') and PACKAGE_DIR in Path(filename).resolve().parents


def _from_worker(error: BaseException) -> Optional[str]:
    """The sentence in an error that a data-loading process sent as text: its last frame, then ``ValueError: sentence``."""
    text = str(error)
    frames = list(re.finditer(r'^ *File "(?P<file>[^"]+)", line \d+, in .*\n(?P<source>.*)$', text, re.MULTILINE))
    if 'Original Traceback' not in text or not frames or not _raised_on_purpose(frames[-1]['file'], frames[-1]['source']):
        return None
    sentences = re.findall(r'^(?:\w+\.)*\w*Error: (.*)$', text[frames[-1].end():], re.MULTILINE)
    return sentences[-1] if sentences else None


def _from_construction(error: BaseException) -> Optional[str]:
    """A sentence where the registry could not build what the config describes: no such type, or no such argument."""
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not any(file.parent.name == 'registry' for file in files):  # of mmengine
        return None
    unknown = re.search(r'(\w+) is not in the ([\w:]+) registry', str(error))
    if isinstance(error, KeyError) and unknown:
        return (f'The config names the type {unknown[1]}, which the registry {unknown[2]} does not have: correct it, or import its module '
                'in custom_imports.')
    argument = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if isinstance(error, TypeError) and argument:
        return f"The config gives {argument[1]} the key '{argument[2]}', which it does not take: correct or remove it."
    absent = re.search(r'(\w+)\.__init__\(\) missing \d+ required .*arguments?: (.+)', str(error))
    if isinstance(error, TypeError) and absent and files[-1].parent.name == 'registry':
        return f'The config does not give {absent[1]} its {absent[2]}: add it.'
    return None


def user_sentence(error: BaseException) -> Optional[str]:
    """The sentence to show to the user, or None where the error is not one of the package's own."""
    while error is not None:
        if isinstance(error, USER_ERRORS):
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            if frame is not None:
                filename = frame.tb_frame.f_code.co_filename
                if _raised_on_purpose(filename, linecache.getline(filename, frame.tb_lineno)):
                    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
                sentence = _from_construction(error)
                if sentence:
                    return sentence
            sentence = _from_worker(error)
            if sentence:
                return sentence
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def report_user_errors() -> Iterator[None]:
    """Around the body of a command line: prints a user's mistake as one sentence and exits with code 1; other errors pass through.

    In a distributed run all processes mostly fail alike: the first prints at once, the others after a moment, in which the launcher ends
    them where the first has failed too.
    """
    try:
        yield
    except USER_ERRORS as error:
        sentence = user_sentence(error)
        if sentence is None:
            raise
        sys.stdout.flush()
        from mmengine.dist import get_rank
        if int(os.environ.get('RANK', get_rank())) > 0:
            time.sleep(SECONDS_TO_BE_ENDED)
        print(f'Error: {sentence}', file=sys.stderr)
        sys.exit(1)
