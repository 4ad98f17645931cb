#!/usr/bin/env bash
# Training in several processes: tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
# One process a GPU (nccl); on a machine without one, PROCESSES on the CPU (gloo). Several machines: run it on each with NNODES, NODE_RANK,
# MASTER_ADDR and PORT in the environment.
set -eu
if [ $# -lt 2 ]; then
    echo "Usage: $0 CONFIG PROCESSES [arguments of train.py]" >&2
    exit 2
fi
CONFIG=$1
PROCESSES=$2
shift 2
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$TOOLS/launch.sh"
launch "$PROCESSES" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
