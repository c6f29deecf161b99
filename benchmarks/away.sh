#!/usr/bin/env bash
# A study on a machine without DVC, for so many minutes; call it again to go on (benchmarks/gpu.md).
# Usage: away.sh STUDY MINUTES [JOBS], in the repository's root, with OUT naming a folder for what is to be brought home.
set -uo pipefail
cd "$(dirname "$0")/.."
study=$1 minutes=$2 jobs=${3:-1}
: "${OUT:?must name the folder that is brought home}"
cmp -s "studies/$study/params.yaml" params.yaml || cp "studies/$study/params.yaml" params.yaml || exit 1
python3 -m pipeline walk "$minutes" "$jobs" 2>&1 | tee "$OUT/walk.log"
status=$?
# Every state of an arm repeats the segments before it: linked, they travel once.
for state in $(ls -d data/distilled/*/* 2>/dev/null | sort -t/ -k3,3 -k4,4n); do
    next="${state%/*}/$((${state##*/} + 1))"
    for file in "$state"/*.parquet; do
        if cmp -s "$file" "$next/${file##*/}"; then ln -f "$file" "$next/${file##*/}"; fi
    done
done
# The real images are prepared anew wherever they are needed: too large to travel, and the same bytes.
kept=()
for path in data/{distilled,evaluators,experts,difficulty,results,ledger} .checkpoints "reports/$study"; do
    if [ -e "$path" ]; then kept+=("$path"); fi
done
if [ ${#kept[@]} -eq 0 ]; then exit "$status"; fi
tar -cf - "${kept[@]}" | split -b 15M - "$OUT/$study.tar."
exit "$status"
