#!/usr/bin/env bash
# The test suite, in an environment that the first run makes:
#   bash tools/run_tests.sh [arguments of pytest]    on the fork's stack (.venv)
#   bash tools/run_tests.sh --stock                  on the stock releases (.venv-stock)
#   bash tools/run_tests.sh -m slow tests/engine     what takes longer
#   PROCESSES=1 bash tools/run_tests.sh          in one process, in the order of the files
#   HYPOTHESIS_PROFILE=long bash tools/run_tests.sh tests/fuzz     thousands of random examples
# Tests on real data run where CMT_DEEPLAB_TEST_DATA names their folder; otherwise they are skipped.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stack=fork
if [ "${1:-}" = --stock ]; then
    stack=stock
    shift
fi
source tools/setup_env.sh
setup_env "$stack"
# The suite is many small tensors: threads beyond one cost more than they give.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$PYTHON" -m pytest -rs -n "${PROCESSES:-2}" --dist loadfile "$@"
