#!/usr/bin/env bash
# The whole test suite in an environment of its own: linters, types, import arrows, pytest.
#   scripts/test.sh [pytest arguments]
# The environment is kept in .venv/test and made again when pyproject.toml changes.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
venv=.venv/test
stamp="$venv/.made-from"
want=$(cksum pyproject.toml)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
    echo "making $venv (a minute or two)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --upgrade pip
    "$venv/bin/python" -m pip install --quiet -e '.[test]' 2>"$venv/pip.log" || {
        cat "$venv/pip.log" >&2
        exit 3
    }
    echo "$want" > "$stamp"
fi
export PATH="$PWD/$venv/bin:$PATH"
bash scripts/system_packages.sh
ruff check .
ruff format --check .
mypy --strict
exec python -m pytest -m "not slow" -n 2 --dist loadfile "$@"
