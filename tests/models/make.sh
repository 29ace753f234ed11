#!/bin/sh
# Makes the two ReLU models anew: the delta of SmolLM2 and relu-small.gguf.
# Usage: sh tests/models/make.sh ORIGINAL [WORK]
# ORIGINAL is SmolLM2-135M-Instruct.Q4_1.gguf, as `cargo xtask setup` installs it.
# Needs a GPU for which PyTorch is built, and half an hour of it (an H100).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
original=${1:?SmolLM2-135M-Instruct.Q4_1.gguf}
work=${2:-$here/../../target/relu}
big=$here/relu-smollm2
small=$here/relu-small
# Python must not leave caches among the sources.
export PYTHONDONTWRITEBYTECODE=1

mkdir -p "$work"
[ -x "$work/python/bin/python" ] || python3 -m venv "$work/python"
python=$work/python/bin/python
"$python" -m pip install --quiet --requirement "$here/requirements.txt"

# SmolLM2: text out of the model itself, then two stretches of training.
"$python" "$big/prepare.py" "$work/big" "$original"
"$python" "$big/sample.py" "$work/big" "$original" "$work/big/samples0.npy"
"$python" "$big/train.py" "$work/big" "$original" "$work/first" --seconds 830 --stop 240
"$python" "$big/train.py" "$work/big" "$original" "$work/delta" --resume "$work/first" --seconds 530 \
    --local 0 --ramp 0.45 --flat 0.35 --coded 0.3 --hidden 0.3 --novels 0.2 --patience 0.15
"$python" "$big/pack.py" "$original" "$work/delta"
cp "$work/delta"/*.delta "$work/delta/delta.json" "$big/delta/"
cp "$work/delta/training.json" "$big/"
# delta.json still lacks the result's hash: `lampyris relufy` names it when it refuses, and
# `pack.py --result` writes it; then `reference.py` recomputes what the tests compare with.

# The small one, on the novels and the same samples.
"$python" "$small/prepare.py" "$work/small"
"$python" "$small/prepare.py" "$work/small" --samples "$work/big/samples0.npy" --original "$original"
"$python" "$small/train.py" "$work/small" "$work/small/trained" --seconds 330 --batch 32 --density 0.04 \
    --rate 1.5e-3 --dropout 0.3 --decay 0.5 --novels 0.3
"$python" "$small/export.py" "$work/small" "$work/small/trained" "$small/relu-small.gguf"
cp "$work/small/trained/training.json" "$small/"
"$python" "$small/reference.py" "$work/small" "$small/training.json" "$small/relu-small.gguf" "$small/reference.json"
