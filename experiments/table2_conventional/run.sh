#!/usr/bin/env bash
# Table 2: conventional OOD sets.
# On ImageNet; `run.sh icons` does it on the embedded benchmark. Further words go to every run: launcher=slurm, paths.data_root=...
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
experiment=table2 runs=imagenet_1k table=table2_imagenet_1k
if [ "${1:-}" = icons ]; then
    experiment=icons_table2 runs=icons table=table2_icons
    shift
fi
folder=${NEGPROMPT_RUNS:-runs}
negprompt train --multirun "experiment=$experiment" "$@"
# Scores that are no part of a usual run: ODIN goes through the image tower three times.
negprompt train --multirun "experiment=$experiment" method=zero_shot seed=1 'score=[all],[odin]' "$@"
# Prompts of the first tenth of the classes, tested with all names.
negprompt train --multirun "experiment=$experiment" method=coop,locoop,negprompt data.class_fraction=0.1 "$@"
negprompt report "runs=$folder/$runs" "output=$folder/_report/$table"
cp "$folder/_report/$table/tables/$table.csv" "$here/results.csv"
