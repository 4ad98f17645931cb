"""Runs the command lines of the project in processes of their own, as a user does."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name('toy_config.py')


def environment() -> dict:
    path = [
        str(ROOT / 'projects'),
        str(Path(__file__).parent),
        *filter(None, [os.environ.get('PYTHONPATH')]),
    ]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(path),
        OMP_NUM_THREADS=str(torch.get_num_threads()),  # sums depend on it in their last digits
        PYTHON=sys.executable,
        CUDA_VISIBLE_DEVICES='',
    )


def run(*arguments, timeout: float = 900) -> subprocess.CompletedProcess:
    """The finished process; its output is text. The timeout only ends a test that hangs."""
    command = [str(argument) for argument in arguments]
    if command[0].endswith('.py'):
        command.insert(0, sys.executable)
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout
    )
