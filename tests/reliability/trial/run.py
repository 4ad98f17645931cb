"""Runs the situations in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
SCENES = ('--train', '6', '--val', '4', '--seed', '7')


def run(
    scratch: Path, *, rows: str = '', jobs: int = 2, short: bool = False, part: int | None = None
) -> list[dict]:
    """The ``key`` of each situation with its ``outcome`` and the ``text`` that came.

    Args:
        scratch: a folder to work in. What is in it from an earlier call is used again.
        rows: a regular expression; those whose 'kind: name [route]' matches are set up.
        jobs: situations at a time.
        part: only those of this part of the page.
        short: only those that are cheap and need no trained weights.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    data, output = scratch / 'data', scratch / 'outcomes.json'
    if not data.is_dir():
        shapes = [sys.executable, str(ROOT / 'tools/misc/make_shapes.py'), str(data / 'shapes')]
        subprocess.run([*shapes, *SCENES], check=True, capture_output=True)
    environment = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    environment['PYTHONPATH'] = os.pathsep.join(
        map(str, (ROOT / 'projects', HERE, HERE.parent / 'helpers'))
    )
    command = [sys.executable, str(HERE / 'trial/worker.py'), ROOT, scratch.resolve()]
    options = ['--rows', rows, '--jobs', str(jobs), *(['--short'] if short else [])]
    options += [] if part is None else ['--part', str(part)]
    subprocess.run([*map(str, command), *options], check=True, env=environment)
    return [*json.loads(output.read_text()).values()]
