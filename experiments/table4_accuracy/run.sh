#!/usr/bin/env bash
# Table 4: ID accuracy, learned on all classes and on a tenth of them. On ImageNet; `run.sh icons` does it on the embedded benchmark.
experiment=table4
source "$(dirname "${BASH_SOURCE[0]}")/../paper.sh"
train
train method=zero_shot data.class_fraction=1.0
report "$benchmark"
keep tables/table4_accuracy.csv results.csv
