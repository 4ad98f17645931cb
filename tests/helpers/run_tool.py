"""Runs a program of tools/ inside the test process, which spares it the imports."""

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]


def run_tool(name: str, *arguments) -> subprocess.CompletedProcess:
    """The finished program ``name``, a path below tools/; its output is text."""
    command = [str(ROOT / 'tools' / name), *map(str, arguments)]
    out, error, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, 'argv', command),
        mock.patch.object(sys, 'path', list(sys.path)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            runpy.run_path(command[0], run_name='__main__')
        except SystemExit as exit:
            code = int(exit.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), error.getvalue())
