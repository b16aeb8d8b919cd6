#!/usr/bin/env bash
# Every system on icons and its four hard splits, three seeds; then tables, figures and curves. What is finished is not run again.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
sweep=(negprompt train --multirun sweep=compare trainer=cpu)
"${sweep[@]}"
# Scores that are made for zero-shot CLIP; ODIN reads every test picture three times.
"${sweep[@]}" method=zero_shot seed=1 'score=[all],[odin]'
# Open vocabulary: prompts of the first tenth of the classes, tested with all names.
"${sweep[@]}" data=icons method=coop,locoop,negprompt data.class_fraction=0.1
# Table 5: number of negatives.
"${sweep[@]}" data=icons method=negprompt method.num_negatives=1,3,5
negprompt report 'runs=[runs/icons,"runs/icons_hard_*"]' output=runs/_report title='Every system on icons and its hard splits'
cp runs/_report/summary.md "$here/results.md"
cp runs/_report/tables/*.csv "$here/tables/"
python "$here/curves.py"
