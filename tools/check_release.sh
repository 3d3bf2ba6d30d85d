#!/usr/bin/env bash
# Build an sdist and a wheel from the last commit, install each in a fresh venv, and run the quick tests away from the checkout:
#   tools/check_release.sh [PYTHON] [DIST]
set -euo pipefail
unset PYTHONPATH
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
[[ $python != */* ]] || python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
mkdir -p "${2:-$root/dist}" && dist=$(cd "${2:-$root/dist}" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

mkdir "$tmp/source"
git -C "$root" archive HEAD | tar -x -C "$tmp/source"
"$python" -m venv "$tmp/build"
"$tmp/build/bin/pip" install -q build twine
"$tmp/build/bin/python" -m build --outdir "$tmp/dist" "$tmp/source"
"$tmp/build/bin/twine" check --strict "$tmp"/dist/*

cd "$tmp" # Where no checkout can be imported by mistake
cp -r source/tests source/tools .
for package in "$tmp"/dist/*; do
  rm -rf venv && "$python" -m venv venv
  venv/bin/pip install -q "$package" pytest pytest-xdist hypothesis
  venv/bin/mmnist-preview --digits fonts --out preview
  venv/bin/python -m pytest -q -p no:cacheprovider tests/test_{affine,digits,golden,recipes,rng,utils}.py
  echo "$("$python" --version): $(basename "$package") works"
done
cp dist/* "$dist"
