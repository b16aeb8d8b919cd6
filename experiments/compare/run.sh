#!/usr/bin/env bash
# Every system on icons and its four hard splits, three seeds; then the tables. What is finished is not run again.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
negprompt train --multirun sweep=compare trainer=cpu
# Scores that are made for zero-shot CLIP; ODIN reads every test picture three times.
negprompt train --multirun sweep=compare trainer=cpu method=zero_shot seed=1 'score=[all]'
# Open vocabulary: prompts of the first tenth of the classes, tested with all names.
negprompt train --multirun sweep=compare trainer=cpu data=icons method=coop,locoop,negprompt data.class_fraction=0.1
# Table 5: number of negatives.
negprompt train --multirun sweep=compare trainer=cpu data=icons method=negprompt method.num_negatives=1,3,5
python "$here/tables.py" runs
python "$here/figure3.py" runs
python "$here/curves.py"
