#!/usr/bin/env bash
# All that is wanted of a GPU that is lent for minutes, the most wanted first (benchmarks/gpu.md). Every part has a limit
# of time, leaves what it has in the folder that is brought home, and costs the next one nothing if it fails. Call it
# again to go on; on a fresh machine what came home lies in .lease, and packages that are missing there in .whl.
# Usage: lease.sh MINUTES [STUDY [JOBS [OPTION OF python -m benchmarks]...]], with OUT naming the folder for what is to be
# brought home, at most eight files: lease.log, lease.done, gpu.json, profile.txt and 40 MB of the study in three parts.
set -uo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-} study=${2:-cifar10} jobs=${3:-2}
options=("${@:4}")

refuse() {
    echo "lease.sh: $1" >&2
    exit 1
}
[[ $minutes =~ ^([0-9]+)(\.([0-9]))?$ ]] || refuse "MINUTES must be a number such as 9 or 9.5, got '$minutes'"
ends=$((60 * 10#${BASH_REMATCH[1]} + 6 * ${BASH_REMATCH[3]:-0})) # in seconds, as all below
[[ $jobs =~ ^[1-9][0-9]*$ ]] || refuse "JOBS must be a number from 1, got '$jobs'"
[ -f "studies/$study/params.yaml" ] || refuse "studies/$study/params.yaml: no such file"
[ -d "${OUT:-}" ] || refuse "OUT must name the folder that is brought home"

export CUBLAS_WORKSPACE_CONFIG=:4096:8 PYTHONUNBUFFERED=1
kept=.checkpoints/lease # between two calls on one machine
wanted=recipe:cifar10-ipc10,match:cifar10-ipc10,evaluate:cifar10-ipc50,match:cifar100-ipc10,steps:cifar10-ipc10,score
wanted+=,match,steps,evaluate,recipe:cifar10-ipc50,recipe:cifar100-ipc10 # the others outlast what they are given

left() {
    echo $((ends - SECONDS))
}

in_minutes() {
    printf '%d.%02d' $(($1 / 60)) $(($1 % 60 * 100 / 60))
}

# part NAME SECONDS COMMAND...: run it for so long at most, as far as there is time; say how it ended.
part() {
    local name=$1 limit=$2 begun=$SECONDS status
    shift 2
    ((limit > $(left))) && limit=$(left)
    if ((limit < 3)); then
        echo "== $name: no time is left"
        return 1
    fi
    echo "== $name: at most $limit s"
    timeout --kill-after=5 "$limit" "$@"
    status=$?
    echo "== $name: exit $status after $((SECONDS - begun)) s"
    cp -f "$kept/lease.done" "$OUT"
    return "$status"
}

# once NAME STATUS SECONDS COMMAND...: the same, but no more once it has ended well, or with this status.
once() {
    local name=$1 enough=$2 status
    shift 2
    if grep -qx "$name" "$kept/lease.done"; then
        echo "== $name: done before"
    else
        part "$name" "$@"
        status=$?
        ((status == 0 || status == enough)) && echo "$name" >>"$kept/lease.done"
        cp -f "$kept/lease.done" "$OUT"
    fi
}

go_on() {
    mkdir -p "$kept"
    touch "$kept/lease.done"
    if compgen -G ".whl/*.whl" >/dev/null; then
        local site=${TMPDIR:-/tmp}/lease-site
        python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl
        export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
    fi
    cmp -s "studies/$study/params.yaml" params.yaml || cp "studies/$study/params.yaml" params.yaml
    if [ -d .lease ] && [ ! -d .checkpoints/walk ]; then
        cp -f .lease/lease.done .lease/gpu.json "$kept"
        if [ -e ".lease/$study-1.tar.000" ]; then
            python3 -m benchmarks.travel take "$study" .lease
        fi
    fi
    if [ -e "$kept/gpu.json" ]; then
        cp -f "$kept/gpu.json" benchmarks/results/
    fi
}

# The first to import torch reads it from the disk. Says no where there is no GPU, unless a CPU is asked for.
facts() {
    part facts 120 bash -c 'nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv; python3 -m benchmarks.facts "$@"' \
        bash "${options[@]}"
    (($? != 4))
}

# Only the files that hold tests for a GPU, because others import DVC; without the options of pyproject.toml, because
# they import beartype; and warnings of the machine's own packages stop nothing.
tests() {
    local files
    mapfile -t files < <(grep -lr --include="test_*.py" mark.gpu tests)
    # A pytest that is ended remembers nothing: a short call does not spend all it has on doing all of it again.
    local limit=$(($(left) / 4))
    ((limit = limit > 130 ? 130 : limit < 20 ? 20 : limit))
    # Four at once, so that a lost device is that of a quarter of the tests.
    once tests 0 "$limit" python3 -m pytest -o addopts= -m gpu -n 4 -v -rs --tb=short --lf --timeout 60 -W default "${files[@]}"
}

speed() {
    local limit=$(((ends - SECONDS) * 4 / 10))
    # No case begins when two thirds are over: one that the limit ends is lost.
    part speed "$limit" python3 -m benchmarks --name gpu --repeats 3 --only "$wanted" \
        --minutes "$(in_minutes $((limit * 2 / 3)))" "${options[@]}"
    cp -f benchmarks/results/gpu.json "$kept" && cp -f benchmarks/results/gpu.json "$OUT"
}

profiled() {
    once profile 124 60 bash -c 'python3 -m benchmarks.profiled >"$0/profile.txt"' "$OUT"
}

walked() {
    local seconds=$(($(left) - 25)) # to pack
    if ((seconds >= 20)); then
        # It begins and ends in its own time; the limit is for a walk that does neither.
        part study "$seconds" python3 -m pipeline walk "$(in_minutes $((seconds - 15)))" "$jobs"
    else
        echo "== study: no time is left"
    fi
    # The next call takes it along, beside the data and some 3 MiB of code: 64 MiB are all that travel.
    local data room
    data=$(du -cm data/*/{train,test}*.parquet 2>/dev/null | tail -n 1 | cut -f 1)
    room=$((60 - ${data:-0}))
    part pack 30 python3 -m benchmarks.travel pack "$study" "$OUT" $((room > 40 ? 40 : room < 10 ? 10 : room))
}

all() {
    go_on
    facts || {
        echo "== no GPU is seen, nothing more is done (on a CPU, for a trial: --device cpu after the jobs)"
        return
    }
    tests
    speed
    profiled
    walked
    echo "== $SECONDS s in all; bring home $(ls "$OUT" | tr '\n' ' ')"
}

all 2>&1 | tee "$OUT/lease.log"
