#!/usr/bin/env bash
# Evaluation in several processes:
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of test.py]
# The environment variables are those of tools/dist_train.sh.
set -eu
if [ $# -lt 3 ]; then
    echo "Usage: $0 CONFIG CHECKPOINT PROCESSES [arguments of test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
PROCESSES=$3
shift 3
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$TOOLS/launch.sh"
launch "$PROCESSES" "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
