#!/usr/bin/env bash
# One run per tau: train, predict, score; then one report that compares them. What is finished is not done again,
# what was interrupted goes on, and a failure does not stop the other values.
#   scripts/tau_sweep.sh dataset=voc wss=mars
#   TAUS="0.7 0.8" scripts/tau_sweep.sh
# Further words are settings of dhr.train. To spread the training over machines: python -m dhr.train -m tau=...
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
read -r -a taus <<<"${TAUS:-0.6 0.7 0.8 0.9}"
dataset=toy
for setting in "$@"; do
  if [[ $setting == dataset=* ]]; then dataset=${setting#dataset=}; fi
done
runs=outputs/$dataset/runs

train() { # tau settings...
  local tau=$1
  shift
  "$python" -m dhr.train "$@" "tau=$tau" "name=tau-$tau" resume=auto
}

score() { # run
  "$python" -m dhr.predict "run=$1" split=validation && "$python" -m dhr.evaluate "run=$1" split=validation
}

finished=()
for tau in "${taus[@]}"; do
  if train "$tau" "$@" && score "$runs/tau-$tau"; then finished+=("$runs/tau-$tau"); fi
done

if [[ ${#finished[@]} -gt 0 ]]; then
  others=$(IFS=, && echo "${finished[*]:1}")
  "$python" -m dhr.report "run=${finished[0]}" "compare=[$others]"
fi
echo "${#finished[@]} of ${#taus[@]} values of tau are done"
[[ ${#finished[@]} -eq ${#taus[@]} ]]
