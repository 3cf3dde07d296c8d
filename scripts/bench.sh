#!/usr/bin/env bash
# Runs every benchmark; each prints its own table.
set -euo pipefail
cd "$(dirname "$0")/.."
for file in benchmarks/[a-z]*.py; do
    echo "== $file"
    "$1" "$file"
done
