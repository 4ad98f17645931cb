# What the launchers share; to be sourced by bash.

# Where a process is lost, torch would write the stack of its C++ code as a warning.
export TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-ERROR}

# Prints the interpreter: $PYTHON, else that of an activated environment, else the project's .venv,
# else python3.
launch_python() {
    local venv
    venv=$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/python
    if [ -n "${PYTHON:-}" ]; then
        printf '%s\n' "$PYTHON"
    elif [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$venv" ]; then
        printf '%s\n' "$venv"
    else
        command -v python || command -v python3
    fi
}

# whole_number NAME VALUE LEAST [MOST] refuses another value, which bash would evaluate in $((...)).
whole_number() {
    case $2 in
        '' | *[!0-9]* | 0?* | ??????*) ;;
        *) [ "$2" -lt "$3" ] || [ "$2" -gt "${4:-99999}" ] || return 0 ;;
    esac
    printf "Error: %s is '%s', but must be a whole number from %d to %d.\n" \
        "$1" "$2" "$3" "${4:-99999}" >&2
    exit 2
}

# launch PROCESSES SCRIPT ARGUMENTS... starts the script with torchrun (launch.py), in PROCESSES
# processes of this machine.
launch() {
    local processes=$1 cores python
    shift
    whole_number PROCESSES "$processes" 1
    whole_number NNODES "${NNODES:-1}" 1
    whole_number NODE_RANK "${NODE_RANK:-0}" 0 $((${NNODES:-1} - 1))
    whole_number PORT "${PORT:-29500}" 1 65535
    whole_number TORCH_ELASTIC_SHUTDOWN_TIMEOUT "${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-300}" 0
    python=$(launch_python)
    # torchrun would take one thread per process; on the CPU the processes share out the cores
    if [ -z "${OMP_NUM_THREADS:-}" ]; then
        cores=$("$python" -c 'import os
print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
        export OMP_NUM_THREADS=$((cores / processes > 1 ? cores / processes : 1))
        if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
            export OMP_NUM_THREADS=1
        fi
    fi
    exec "$python" "$(dirname "${BASH_SOURCE[0]}")/launch.py" \
        --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" "$@"
}

# launch_slurm PARTITION JOB_NAME SCRIPT ARGUMENTS... starts the script with srun, in GPUS
# processes, GPUS_PER_NODE of them on each node.
launch_slurm() {
    local partition=$1 job_name=$2 gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    local extra=() resources=()
    shift 2
    whole_number GPUS "$gpus" 1
    whole_number GPUS_PER_NODE "$per_node" 0
    whole_number CPUS_PER_TASK "${CPUS_PER_TASK:-5}" 1
    read -r -a extra <<<"${SRUN_ARGS:-}"
    if [ "$per_node" -gt 0 ]; then
        resources=(--gres="gpu:$per_node" --ntasks-per-node="$per_node")
    fi
    exec srun -p "$partition" --job-name="$job_name" ${resources[@]+"${resources[@]}"} \
        --ntasks="$gpus" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${extra[@]+"${extra[@]}"} "$(launch_python)" -u "$@"
}
