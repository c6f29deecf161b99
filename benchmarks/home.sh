#!/usr/bin/env bash
# Unpack what away.sh brought home, and let DVC take it for the outputs of its stages. The study must be in force here.
# Usage: home.sh STUDY FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
python -m benchmarks.travel unpack "$1" "$2"
