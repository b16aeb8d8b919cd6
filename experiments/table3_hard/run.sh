#!/usr/bin/env bash
# Table 3: hard splits.
# On ImageNet; `run.sh icons` does it on the embedded benchmark. Further words go to every run: launcher=slurm, paths.data_root=...
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
experiment=table3 runs='imagenet_hard_*' table=table3_imagenet
if [ "${1:-}" = icons ]; then
    experiment=icons_table3 runs='icons_hard_*' table=table3_icons
    shift
fi
folder=${NEGPROMPT_RUNS:-runs}
negprompt train --multirun "experiment=$experiment" "$@"
# Scores that are no part of a usual run: ODIN goes through the image tower three times.
negprompt train --multirun "experiment=$experiment" method=zero_shot seed=1 'score=[all],[odin]' "$@"
negprompt report "runs=$folder/$runs" "output=$folder/_report/$table"
cp "$folder/_report/$table/tables/$table.csv" "$here/results.csv"
