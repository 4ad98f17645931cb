"""Mistakes of the user, and how a command line ends on one: with one sentence and exit code 1.

Every error that this package raises because of a wrong config, file or argument is a
:class:`UserError`. All other errors are faults of the code and keep their stack trace.
"""

import errno
import os
import sys
import traceback
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import FrameType

# what torch and numpy say of the machine, by the name of the error or its words, and the sentence
OF_THE_MACHINE = {
    ('MemoryError', "can't allocate memory"): 'The memory does not suffice ({}): lower the '
    'batch_size of the data loader, or the image_size of its data set together with '
    'model.data_preprocessor.size.',
    ('not compiled with CUDA', 'no NVIDIA driver', 'No CUDA GPUs'): 'torch finds no GPU here ({}): '
    "give the device 'cpu'.",
    ('DistNetworkError', 'DistStoreError'): 'The processes do not reach each other ({}): set the '
    'environment variables MASTER_ADDR and MASTER_PORT to the first machine and a free port of it.',
    ('DataLoader worker (pid',): 'A data-loading process has ended ({}): where the memory does not '
    'suffice, lower num_workers or batch_size of the data loader, and go on with --resume.',
    ('Connection closed by peer', 'Connection reset by peer', 'remote process exited'): 'Another '
    'process of this run has ended without a word; it may have been killed, as the memory did not '
    'suffice.',
}


class UserError(ValueError):
    """A mistake of the user; the message is one sentence naming the file or key and the remedy.

    Of an error in a data-loading process the sentence is the last line of the text that it sent.
    Control characters, which names of files may have, are written out.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if 'Original Traceback' in text:  # its last line is 'module.NameOfTheError: message'
            text = text.rstrip().rpartition('\n')[2].partition(': ')[2]
        return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class TrainingStopped(SystemExit):
    """Training has ended early because a signal asked for it; a checkpoint is written.

    ``code`` is the exit status, as a shell gives it: 128 + the number of the signal (SIGTERM: 143,
    SIGINT: 130). A program that does not catch it ends with this status and without a stack trace.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file that the user named does not exist or cannot be fetched."""


class MissingPackageError(UserError, ModuleNotFoundError):
    """An optional package is not installed; the message names the command that installs it."""


def require_file(path: str, sentence: str) -> None:
    """Raise a :class:`MissingFileError` with ``sentence`` unless ``path`` is a file."""
    if not Path(path).is_file():
        raise MissingFileError(sentence)


def make_folder_of(path: str) -> None:
    """Make the folder of a file that will be written, or raise a :class:`UserError`."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{path} cannot be written ({error}): name another file.') from error
    if Path(path).is_dir():
        raise UserError(f'{path} cannot be written, as it is a folder: name a file in it.')
    if not os.access(path if Path(path).exists() else Path(path).parent, os.W_OK):
        raise UserError(f'{path} cannot be written (no permission): name another file.')


def output_file(path: str) -> str:
    """For argparse: the path of a file that can be written when the work is done."""
    try:
        make_folder_of(path)
    except UserError as error:
        raise ArgumentTypeError(str(error)) from error
    return path


def positive(text: str) -> int:
    """For argparse: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f'{text} is not a whole number of at least 1.')
    return int(text)


def above_zero(text: str) -> float:
    """For argparse: a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < inf:
        raise ArgumentTypeError(f'{text} is no number above 0.')
    return number


def frames_of(error: BaseException) -> list[FrameType]:
    """The frames through which an error has passed; the one that raised it is the last."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def files_on_the_way(error: BaseException) -> list[Path]:
    """The source files through which an error has passed; the one that raised it is the last."""
    return [Path(frame.f_code.co_filename) for frame in frames_of(error)]


def _of_the_machine(error: BaseException) -> str | None:
    """The sentence where the memory, a process or the network fails, otherwise None."""
    text = ' '.join(f'{type(error).__name__}: {error}'.split()).rstrip(': ')
    for words, sentence in OF_THE_MACHINE.items():
        if any(word in text for word in words):
            return sentence.format(text[:150])
    return None


def _of_files(error: BaseException) -> str | None:
    """The sentence where a file or the disk refuses, otherwise None."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f'The disk is full ({error}): make room, or set another work_dir.'
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f'{error.filename}: {error.strerror}; correct the path, or its permissions.'
    return None


def _of_building(error: BaseException) -> str | None:
    # mmengine needs the workarounds of compat.py, which imports this module
    from cmt_deeplab.mmengine_building import said_of_the_config

    return said_of_the_config(error) if isinstance(error, Exception) else None


def user_sentence(error: BaseException | None) -> str | None:
    """The sentence to show to the user, or None where the error is a fault of the code.

    An error that was raised from another one stands for that one, and so does the ImportError that
    mmengine makes of any error in a module of ``custom_imports``.
    """
    while error is not None:
        if isinstance(error, UserError):
            return str(error)
        sentence = _of_the_machine(error) or _of_building(error) or _of_files(error)
        if sentence:
            return sentence
        imported = isinstance(error, ImportError)
        error = error.__cause__ or (error.__context__ if imported else None)
    return None


@contextmanager
def mistakes_as_user_errors() -> Iterator[None]:
    """Around what a program calls: turn each error that is a user's mistake into a UserError.

    Its message is the sentence, wherever the mistake came to light. Other errors pass through.
    """
    try:
        yield
    except Exception as error:
        sentence = user_sentence(error)
        if sentence is None or sentence == str(error):
            raise
        raise UserError(sentence) from error


@contextmanager
def report_user_errors() -> Iterator[None]:
    """Around a command line, or as its decorator: end a user's mistake with one sentence.

    The sentence goes to the error output, and the exit code is 1. Other errors pass through.
    """
    try:
        yield
    except Exception as error:
        sentence = user_sentence(error)
        if sentence is None:
            raise
        sys.stdout.flush()
        print(f'Error: {sentence}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print('Ended at once by SIGINT.', file=sys.stderr)
        sys.exit(130)
