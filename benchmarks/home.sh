#!/usr/bin/env bash
# Unpack what away.sh brought home, and let DVC take it for the outputs of its stages. The study must be in force here.
# Usage: home.sh STUDY FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
study=$1 folder=$2
if ! grep -qE "^study: $study\b" params.yaml; then
    echo "home.sh: $study is not in force here: python -m pipeline study $study" >&2
    exit 1
fi
cat "$folder/$study.tar."* | tar -xf -
python -m pipeline check
dvc repro --quiet prepare
dvc commit --force --quiet
dvc status
