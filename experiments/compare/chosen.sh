#!/usr/bin/env bash
# What search.sh chose for systems whose published settings stand in the main tables: in a folder of its own, so that both have tables.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
benchmarks=icons,icons_hard_1,icons_hard_2,icons_hard_3,icons_hard_4
# Hand-written prompts do not hang on the seed.
chosen() {
    negprompt train --multirun "data=$benchmarks" seed=1,2,3 trainer=cpu paths.runs_dir=runs/_chosen paths.features_dir=runs/_features "$@"
}
chosen seed=1 method=zero_shot 'score=[mcm]' score.mcm.temperature=8.463
chosen seed=1 method=zero_shot 'score=[msp]' score.msp.temperature=84.63
chosen seed=1 method=zero_shot 'score=[gl_mcm]' score.gl_mcm.temperature=3.37 score.gl_mcm.local_weight=0.02796
chosen seed=1 method=zero_shot 'score=[odin]' score.odin.temperature=2345 score.odin.step_size=0.0002796
chosen method=negprompt_official_code method.npd_weight=0.4842 method.nnd_weight=0.01985 method.optimizer.lr=0.00237
chosen seed=1 method=zoc 'score=[zoc]' method.top_k=69 method.steps=15
negprompt report 'runs=[runs/_chosen/icons,"runs/_chosen/icons_hard_*"]' output=runs/_chosen/_report title='Searched settings in place of published ones'
cp runs/_chosen/_report/summary.md "$here/chosen.md"
