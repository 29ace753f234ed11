#!/bin/sh
# Makes compiler/import/assets/tiny.gguf and tests/tiny/reference.json anew.
# Usage: sh tests/tiny/make.sh [WORK [option of train.py]...]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=${1:-$here/../../target/tiny}
[ $# -eq 0 ] || shift
file=$here/../../compiler/import/assets/tiny.gguf
# Python must not leave caches among the sources.
export PYTHONDONTWRITEBYTECODE=1

mkdir -p "$work"
[ -x "$work/python/bin/python" ] || python3 -m venv "$work/python"
python=$work/python/bin/python
"$python" -m pip install --quiet --requirement "$here/requirements.txt"
"$python" "$here/prepare.py" "$work"
"$python" "$here/train.py" "$work" --compile "$@"
"$python" "$here/export.py" "$work" "$file"
"$python" "$here/reference.py" "$work" "$file" "$here/reference.json"
