#!/usr/bin/env bash
# Six settings of everything that has some, on validation pictures with one seed; the first is what its preset or paper says.
set -euo pipefail
search() { # NAME, then words for `negprompt search`
    negprompt search search.trials=6 trainer=cpu "search.output=runs/_search/$1" "${@:2}"
}
for method in coop locoop one_stage negprompt negprompt_paper; do
    search "$method" "method=$method" "search_space=${method%_paper}"
done
# Two negatives, as the code was released.
weights='method.npd_weight: {low: 0.01, high: 1.0, log: true}, method.nnd_weight: {low: 0.01, high: 1.0, log: true}'
search negprompt_official_code method=negprompt_official_code "search.space={$weights, method.optimizer.lr: {low: 0.002, high: 0.2, log: true}}"
search zoc method=zoc 'search.space={method.top_k: {low: 5, high: 70}, method.steps: {low: 2, high: 20}}'
# Scores on hand-written prompts.
score() { # NAME, then its space
    search "$1" method=zero_shot "score=[$1]" "search.space=$2"
}
score mcm '{score.mcm.temperature: {low: 0.01, high: 10.0, log: true}}'
score msp '{score.msp.temperature: {low: 0.1, high: 100.0, log: true}}'
score energy '{score.energy.temperature: {low: 0.1, high: 100.0, log: true}}'
score react '{score.react.percentile: {low: 50.0, high: 99.9}}'
score gl_mcm '{score.gl_mcm.temperature: {low: 0.01, high: 10.0, log: true}, score.gl_mcm.local_weight: {low: 0.01, high: 10.0, log: true}}'
score odin '{score.odin.temperature: {low: 1.0, high: 10000.0, log: true}, score.odin.step_size: {low: 0.0001, high: 0.1, log: true}}'
here=$(dirname "${BASH_SOURCE[0]}")
mkdir -p "$here/search"
for found in runs/_search/*/trials.csv; do
    cp "$found" "$here/search/$(basename "$(dirname "$found")").csv"
done
