#!/usr/bin/env bash
# Training in several processes: tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
# PROCESSES is the number of GPUs to use (nccl), one per process; on a machine without a GPU, all
# processes run on the CPU (gloo). For several machines, run it on each with NNODES, NODE_RANK,
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
