#!/usr/bin/env bash
# Figure 3: largest similarity of ID and OOD pictures to positive and negative prompts.
# On ImageNet; `run.sh icons` does it on the embedded benchmark. Further words go to every run: launcher=slurm, paths.data_root=...
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
experiment=fig3 benchmark=imagenet_1k
if [ "${1:-}" = icons ]; then
    experiment=icons_fig3 benchmark=icons
    shift
fi
folder=${NEGPROMPT_RUNS:-runs}
negprompt train --multirun "experiment=$experiment" "$@"
negprompt report "runs=$folder/$benchmark/negprompt*" "output=$folder/_report/$experiment"
cp "$folder/_report/$experiment/tables/fig3_$benchmark.csv" "$here/results.csv"
for method in negprompt_paper negprompt; do
    cp "$folder/_report/$experiment/figures/fig3_${benchmark}_${method}_negprompt.svg" "$here/$method.svg"
done
