#!/usr/bin/env bash
# Six settings of every method that has some, on validation pictures; the first is what its preset says.
set -euo pipefail
for method in coop locoop one_stage negprompt negprompt_paper; do
    negprompt search "method=$method" "search_space=${method%_paper}" search.trials=6 trainer=cpu \
        "search.output=runs/_search/$method"
done
