#!/usr/bin/env bash
# Makes the virtual environment: trueup with all extras, at the versions of constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.11}
VENV=${VENV:-.venv}

if ! command -v "$PYTHON" >/dev/null; then
    for other in python3.13 python3.12 python3; do
        if command -v "$other" >/dev/null && "$other" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            PYTHON=$other
            break
        fi
    done
fi
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "trueup needs Python 3.11 or newer; found none. Install it, or name it: make PYTHON=/path/to/python3.11" >&2
    exit 1
fi

[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
echo "Installing into $VENV (a few minutes; PyTorch is large) …"
# torch first and by pip: its build is chosen by exact version, and everything else only asks for a range.
"$VENV/bin/pip" install --quiet --disable-pip-version-check $(grep -E '^(torch|torchvision)==' constraints.txt)
"$VENV/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
