#!/usr/bin/env bash
# Figure 3: largest similarity of ID and OOD pictures to positive and negative prompts. On ImageNet; `run.sh icons` does it on the embedded benchmark.
experiment=fig3
source "$(dirname "${BASH_SOURCE[0]}")/../paper.sh"
train
report "$benchmark/negprompt*"
keep "tables/fig3_$benchmark.csv" results.csv
for method in negprompt_paper negprompt; do
    keep "figures/fig3_${benchmark}_${method}_negprompt.svg" "$method.svg"
done
