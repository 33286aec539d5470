#!/bin/sh
# Trains a recipe on several machines. Start it on each with the same arguments:
#
#   sh deploy/train.sh FIRST_MACHINE[:PORT] MACHINES RECIPE.py --out SHARED_FOLDER [--FIELD VALUE...]
#
# FIRST_MACHINE is the name or address of one of them, where they meet. The run folder, the base model and the recipe
# must be at the same path everywhere; the corpus is read on one machine only. One process is started for each GPU,
# or one where there is none. After a process has died, all are started anew and resume from the last checkpoint.
#
# PROCESSES: processes a machine. RESTARTS: how often (3). MACHINE: the number of this machine, 0 for the first, where
# names do not tell; SLURM_NODEID and JOB_COMPLETION_INDEX say it, too. ADDRESS: the address by which others reach it.
set -eu
usage="usage: sh deploy/train.sh FIRST_MACHINE[:PORT] MACHINES RECIPE.py --out SHARED_FOLDER [--FIELD VALUE...]"
first=${1:?"$usage"}
machines=${2:?"$usage"}
recipe=${3:?"$usage"}
shift 3
case $first in *:*) ;; *) first=$first:29400 ;; esac

if [ -z "${PROCESSES:-}" ]; then
    PROCESSES=$(nvidia-smi --list-gpus 2>/dev/null | grep -c GPU || true)
    [ "${PROCESSES:-0}" -gt 0 ] || PROCESSES=1
fi
# torchrun gives each of several processes one thread.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(($(nproc) / PROCESSES > 0 ? $(nproc) / PROCESSES : 1))}"

# With a store for all attempts, processes that are started anew find the addresses of the dead (PyTorch issue 167288).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

number=${MACHINE:-${SLURM_NODEID:-${JOB_COMPLETION_INDEX:-}}}
exec torchrun --nnodes "$machines" --nproc-per-node "$PROCESSES" --max-restarts "${RESTARTS:-3}" \
    --rdzv-backend c10d --rdzv-endpoint "$first" --rdzv-id "${SLURM_JOB_ID:-asr-adapt}" \
    ${number:+--rdzv-conf "is_host=$([ "$number" = 0 ] && echo 1 || echo 0)"} \
    ${ADDRESS:+--local-addr "$ADDRESS"} \
    "$recipe" "$@"
