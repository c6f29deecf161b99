#!/usr/bin/env bash
# A study on a machine without DVC, for so many minutes; call it again to go on (benchmarks/gpu.md).
# Usage: away.sh STUDY MINUTES [JOBS [MEGABYTES [TRIP]]], in the repository's root, with OUT naming a folder for what is to
# be brought home: at most so many megabytes (60), the most wanted first; trip 2 takes what the first one left behind.
set -uo pipefail
cd "$(dirname "$0")/.."
study=$1 minutes=$2 jobs=${3:-1} megabytes=${4:-60} trip=${5:-1}
: "${OUT:?must name the folder that is brought home}"
cmp -s "studies/$study/params.yaml" params.yaml || cp "studies/$study/params.yaml" params.yaml || exit 1
python3 -m pipeline walk "$minutes" "$jobs" 2>&1 | tee "$OUT/walk.log"
status=$?
python3 -m benchmarks.travel pack "$study" "$OUT" "$megabytes" "$trip" || exit 1
exit "$status"
