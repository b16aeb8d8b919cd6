# What the run.sh of a table or figure has in common; it is sourced there, where `experiment` is set.
# `bash run.sh` is ImageNet, `bash run.sh icons` the embedded benchmark. Further words go to every run: launcher=slurm, paths.data_root=...
# shellcheck shell=bash
set -euo pipefail
here=$(dirname "${BASH_SOURCE[1]}")
benchmark=imagenet_1k splits='imagenet_hard_*'
if [ "${1:-}" = icons ]; then
    benchmark=icons splits='icons_hard_*' experiment=icons_$experiment
    shift
fi
words=("$@")
folder=${NEGPROMPT_RUNS:-runs}

train() { negprompt train --multirun "experiment=$experiment" "$@" ${words[@]+"${words[@]}"}; }

# report RUNS: tables and figures of what lies below RUNS.
report() { negprompt report "runs=$folder/$1" "output=$folder/_report/$experiment"; }

# keep FILE NAME: one of the report's files, beside run.sh.
keep() { cp "$folder/_report/$experiment/$1" "$here/$2"; }
