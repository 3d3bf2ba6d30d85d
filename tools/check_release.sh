#!/usr/bin/env bash
# Build an sdist and a wheel from the last commit, install each in a fresh venv, and run the quick tests away from the checkout:
#   tools/check_release.sh [PYTHON] [DIST]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3} dist=${2:-$root/dist}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

mkdir -p "$dist" "$tmp/source"
dist=$(cd "$dist" && pwd)
rm -f "$dist"/*.whl "$dist"/*.tar.gz
git -C "$root" archive HEAD | tar -x -C "$tmp/source"
"$python" -m venv "$tmp/build"
"$tmp/build/bin/pip" install -q build twine
"$tmp/build/bin/python" -m build --outdir "$dist" "$tmp/source"
"$tmp/build/bin/twine" check --strict "$dist"/*

cd "$tmp" # Where no checkout can be imported by mistake
cp -r source/tests source/tools .
for package in "$dist"/*.whl "$dist"/*.tar.gz; do
  rm -rf venv && "$python" -m venv venv
  venv/bin/pip install -q "$package" pytest pytest-xdist hypothesis
  venv/bin/mmnist-preview --digits fonts --out preview
  venv/bin/python -m pytest -q -p no:cacheprovider tests/test_{affine,digits,golden,recipes,rng,utils}.py
  echo "$("$python" --version): $(basename "$package") works"
done
