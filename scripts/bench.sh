#!/usr/bin/env bash
# Runs every benchmark that is a program of its own; each prints its own table. `scripts/bench.sh PYTHON [NAME…]`.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
shift
for file in benchmarks/[a-z]*.py; do
    name=$(basename "$file" .py)
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    if grep -q '^if __name__ == "__main__":' "$file"; then
        echo "== python -m benchmarks.$name"
        "$python" -m "benchmarks.$name"
    fi
done
