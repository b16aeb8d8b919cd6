#!/usr/bin/env bash
# Figure 4: t-SNE of positive and negative text features with ID and OOD pictures.
# On ImageNet; `run.sh icons` does it on the embedded benchmark. Further words go to every run: launcher=slurm, paths.data_root=...
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
experiment=fig4 benchmark=imagenet_1k
if [ "${1:-}" = icons ]; then
    experiment=icons_fig4 benchmark=icons
    shift
fi
folder=${NEGPROMPT_RUNS:-runs}
negprompt train --multirun "experiment=$experiment" "$@"
negprompt report "runs=$folder/$benchmark/negprompt*" "output=$folder/_report/$experiment"
cp "$folder/_report/$experiment/tables/fig3_$benchmark.csv" "$here/results.csv"
cp "$folder/_report/$experiment/figures/fig4_$benchmark.svg" "$here/figure.svg"
