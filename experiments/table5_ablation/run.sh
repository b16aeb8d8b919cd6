#!/usr/bin/env bash
# Table 5: backbones, number of negatives, one stage. On ImageNet; `run.sh icons` does it on the embedded benchmark.
experiment=table5
source "$(dirname "${BASH_SOURCE[0]}")/../paper.sh"
backbones=rn50_openai,rn101_openai,vit_b32_laion2b
[ "$benchmark" = imagenet_1k ] || backbones=tiny_lit,tiny_vit
train
train method=one_stage method.num_negatives=2
train method.num_negatives=2 "backbone=$backbones"
report "$benchmark"
keep "tables/table5_$benchmark.csv" results.csv
