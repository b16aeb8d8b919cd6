#!/usr/bin/env bash
# Table 5: backbones, number of negatives, one stage.
# On ImageNet; `run.sh icons` does it on the embedded benchmark. Further words go to every run: launcher=slurm, paths.data_root=...
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
experiment=table5 runs=imagenet_1k table=table5_imagenet_1k
if [ "${1:-}" = icons ]; then
    experiment=icons_table5 runs=icons table=table5_icons
    shift
fi
folder=${NEGPROMPT_RUNS:-runs}
negprompt train --multirun "experiment=$experiment" "$@"
negprompt train --multirun "experiment=$experiment" method=one_stage method.num_negatives=2 "$@"
if [ "$experiment" = table5 ]; then
    negprompt train --multirun "experiment=$experiment" method.num_negatives=2 \
        backbone=rn50_openai,rn101_openai,vit_b32_laion2b "$@"
else
    negprompt train --multirun "experiment=$experiment" method.num_negatives=2 backbone=tiny_lit,tiny_vit "$@"
fi
negprompt report "runs=$folder/$runs" "output=$folder/_report/$table"
cp "$folder/_report/$table/tables/$table.csv" "$here/results.csv"
