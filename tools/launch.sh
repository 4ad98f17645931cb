# What the launchers share; to be sourced by bash.

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

# launch PROCESSES SCRIPT ARGUMENTS... starts the script with torchrun, in PROCESSES processes of
# this machine.
launch() {
    local processes=$1 cores python
    shift
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
    exec "$python" -m torch.distributed.run \
        --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$processes" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" "$@"
}

# launch_slurm PARTITION JOB_NAME SCRIPT ARGUMENTS... starts the script with srun, in GPUS
# processes, GPUS_PER_NODE of them on each node.
launch_slurm() {
    local partition=$1 job_name=$2 gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    local extra=() resources=()
    shift 2
    read -r -a extra <<<"${SRUN_ARGS:-}"
    if [ "$per_node" -gt 0 ]; then
        resources=(--gres="gpu:$per_node" --ntasks-per-node="$per_node")
    fi
    exec srun -p "$partition" --job-name="$job_name" ${resources[@]+"${resources[@]}"} \
        --ntasks="$gpus" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${extra[@]+"${extra[@]}"} "$(launch_python)" -u "$@"
}
