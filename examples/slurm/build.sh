#!/usr/bin/env bash
# What `submit.sh` submits, with the same arguments: a slice as a task of an array job, the whole build otherwise.
set -euo pipefail

slices=$1 manifest=$2 out=$3
shift 3
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    set -- --slice "$SLURM_ARRAY_TASK_ID/$slices" "$@"
fi
# SLURM ends a job that runs out of time by SIGTERM: with `exec` the build itself gets it.
exec "${FACEVID:-facevid}" build "$manifest" --out "$out" "$@"
