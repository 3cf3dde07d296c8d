#!/usr/bin/env bash
# The servers that the tests run for real. As root on Debian or Ubuntu they are installed, else missing ones are named.
set -euo pipefail

declare -A PACKAGE=(
    [prometheus]=prometheus
    [promtool]=prometheus
    [prometheus-alertmanager]=prometheus-alertmanager
    [amtool]=prometheus-alertmanager
    [chromium]=chromium
)
missing=()
for program in "${!PACKAGE[@]}"; do
    command -v "$program" >/dev/null || missing+=("${PACKAGE[$program]}")
done
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing for the tests: ${missing[*]}" >&2
    echo "Install them (Debian, Ubuntu: sudo apt-get install ${missing[*]}) and run this again." >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# The packages would start their services; the tests start their own on free ports.
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
[ -e /usr/sbin/policy-rc.d ] && trap - EXIT || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; }
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "Installed: ${missing[*]}"
