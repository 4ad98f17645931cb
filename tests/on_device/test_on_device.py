"""Nothing meets on two devices, and the host waits for a GPU nowhere else than is known.

The GPU is pretended, and a process that has one is good for nothing else; so the cases run in
a process of their own. ``python -m pytest tests/on_device/cases.py`` runs them alone.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_cases(names: str) -> None:
    backends = pytest.importorskip('torch.utils.backend_registration')
    if not hasattr(backends, '_setup_privateuseone_for_python_backend'):
        pytest.skip('this version of torch has no backends in Python')
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-k', names]
    cases = Path(__file__).with_name('cases.py')
    done = subprocess.run([*command, str(cases)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_a_step_and_a_prediction_of_each_family():
    run_cases('not own_data')


@pytest.mark.slow
def test_training_on_own_data_with_its_report_and_predictions():
    run_cases('own_data')
