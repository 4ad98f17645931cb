"""The parts of ``tools/quickstart.py``, from the command line to the report."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the project
