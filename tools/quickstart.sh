#!/usr/bin/env bash
# From an empty machine to a trained CMT-DeepLab and a page about it, in about a quarter of an hour
# on two cores:
#   bash tools/quickstart.sh [arguments of tools/quickstart.py]
# It needs Python >= 3.10 and installs everything else into .venv (setup_env.sh). The last two lines
# are the path of the report and `PQ xx.xx`.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/setup_env.sh
setup_env fork
# The tensors are small: a second thread gains nothing and would take the core that loads the data.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$PYTHON" tools/quickstart.py "$@"
