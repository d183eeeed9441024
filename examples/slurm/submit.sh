#!/usr/bin/env bash
# Build a dataset on the machines of a SLURM cluster: an array job labels, a job after it writes the tables.
#
#   examples/slurm/submit.sh SLICES MANIFEST OUT [options of `facevid build`]
#   examples/slurm/submit.sh 8 manifest.csv /shared/out --workers 16 --egress 10.0.0.5:3129
#
# OUT must be on a disk that all machines reach. Submit it again to resume: what is done is found in the store.
# For videos of the web, `facevid egress --listen 10.0.0.5:3129` runs on a machine that the others reach, and
# FACEVID_EGRESS_TOKEN is in the environment, which sbatch hands on, as it does with FACEVID where the command has another
# path. What the cluster asks for besides is said to sbatch by SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT,
# SBATCH_GPUS and so on. A worker has 1.5 GB of memory unless SBATCH_MEM_PER_CPU (or _PER_NODE, _PER_GPU) says otherwise.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    sed -n 's/^#   //p' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
workers=1
for ((i = 4; i < $#; i++)); do
    if [ "${!i}" = --workers ]; then next=$((i + 1)) && workers=${!next}; fi
done
task=(--cpus-per-task="$workers")
if [ -z "${SBATCH_MEM_PER_CPU:-}${SBATCH_MEM_PER_NODE:-}${SBATCH_MEM_PER_GPU:-}" ]; then
    # Some clusters give far less by default; a build then uses fewer workers than there are processors.
    task+=(--mem-per-cpu=1500M)
fi

labelled=$(sbatch --parsable --job-name=facevid-label --array="1-$1" "${task[@]}" "$here/build.sh" "$@")
# Also after a slice that failed: what is left is labelled then.
sbatch --job-name=facevid-tables --dependency="afterany:${labelled%%;*}" "${task[@]}" "$here/build.sh" "$@"
