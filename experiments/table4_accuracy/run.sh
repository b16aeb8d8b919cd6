#!/usr/bin/env bash
# Table 4: ID accuracy, learned on all classes and on a tenth of them.
# On ImageNet; `run.sh icons` does it on the embedded benchmark. Further words go to every run: launcher=slurm, paths.data_root=...
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
experiment=table4 runs=imagenet_1k table=table4_accuracy
if [ "${1:-}" = icons ]; then
    experiment=icons_table4 runs=icons table=table4_accuracy
    shift
fi
folder=${NEGPROMPT_RUNS:-runs}
negprompt train --multirun "experiment=$experiment" "$@"
negprompt train --multirun "experiment=$experiment" method=zero_shot data.class_fraction=1.0 "$@"
negprompt report "runs=$folder/$runs" "output=$folder/_report/$table"
cp "$folder/_report/$table/tables/$table.csv" "$here/results.csv"
