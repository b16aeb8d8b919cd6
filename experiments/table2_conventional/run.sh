#!/usr/bin/env bash
# Table 2: conventional OOD sets. On ImageNet; `run.sh icons` does it on the embedded benchmark.
experiment=table2
source "$(dirname "${BASH_SOURCE[0]}")/../paper.sh"
train
# Scores that are no part of a usual run: ODIN goes through the image tower three times.
train method=zero_shot seed=1 'score=[all],[odin]'
# Prompts of the first tenth of the classes, tested with all names.
train method=coop,locoop,negprompt data.class_fraction=0.1
report "$benchmark"
keep "tables/table2_$benchmark.csv" results.csv
