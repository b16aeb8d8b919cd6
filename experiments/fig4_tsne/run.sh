#!/usr/bin/env bash
# Figure 4: t-SNE of positive and negative text features with ID and OOD pictures. On ImageNet; `run.sh icons` does it on the embedded benchmark.
experiment=fig4
source "$(dirname "${BASH_SOURCE[0]}")/../paper.sh"
train
report "$benchmark/negprompt*"
keep "tables/fig3_$benchmark.csv" results.csv
keep "figures/fig4_$benchmark.svg" figure.svg
