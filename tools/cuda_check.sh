#!/usr/bin/env bash
# Everything that needs a CUDA device, in one command that needs no network:
#
#     bash tools/cuda_check.sh OUT
#
# leaves in the folder OUT: machine.txt, tests.txt (every CUDA test), table.md (`python -m benchmarks --cuda`), benchmark.txt, and roofline.txt, the upper
# limits that the kernels' machine code sets (`python -m benchmarks.roofline`).
# PARTS='tests benchmark' does some of it; TEST_SECONDS and BENCHMARK_SECONDS are limits, 420 by default.
# Exit code: 0 if all tests passed and the table was written. PYTHON names the interpreter, MNIST_ROOT the folder of MNIST (else fonts).
# Packages that the interpreter lacks are taken from the folder WHEELS (default: wheels), made beforehand where there is a network by
#     pip download --no-deps -d wheels fastcore numba llvmlite filelock tqdm pytest hypothesis sortedcontainers
# To try the script without a device: DEVICE=cpu.
set -uo pipefail
out=${1:?usage: bash tools/cuda_check.sh OUT}
for o in ${PARTS:=tests benchmark roofline}; do
    case $o in tests | benchmark | roofline) ;; *) echo "PARTS=$PARTS has $o; expected some of tests, benchmark, roofline" >&2; exit 2 ;; esac
done
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} wheels=${WHEELS:-wheels} device=${DEVICE:-cuda}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" MPLBACKEND=agg PYTHONUNBUFFERED=1

# What is missing is unpacked beside the results, not installed
missing=$($python - fastcore numba llvmlite filelock tqdm pytest hypothesis sortedcontainers <<'PY'
import importlib.util, sys
print(*[o for o in sys.argv[1:] if importlib.util.find_spec(o) is None])
PY
)
if [ -n "$missing" ]; then
    echo "not installed: $missing; taken from $wheels"
    extra=$(mktemp -d)
    trap 'rm -rf "$extra"' EXIT
    for name in $missing; do
        file=$(find "$wheels" -iname "$name-*.whl" 2>/dev/null | head -1)
        [ -n "$file" ] || { echo "$wheels has no wheel of $name" >&2; exit 2; }
        $python -m zipfile -e "$file" "$extra"
    done
    export PYTHONPATH="$PYTHONPATH:$extra"
fi

{
    date
    nvidia-smi 2>/dev/null || echo 'no nvidia-smi'
    $python -c "
import platform, torch, torchvision
print('Python', platform.python_version(), 'torch', torch.__version__, 'torchvision', torchvision.__version__)
print('CUDA', torch.cuda.is_available() and torch.cuda.get_device_name())
try: import triton; print('triton', triton.__version__)
except ImportError: print('no triton')"
} > "$out/machine.txt" 2>&1
cat "$out/machine.txt"
if [ "$device" = cuda ]; then
    $python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo 'torch sees no CUDA device' >&2; exit 2; }
fi

code=0
part() { case " $PARTS " in *" $1 "*) ;; *) return 1 ;; esac; }
if part tests; then # Those with "cpu" in their name run the kernels in the interpreter, which needs no device
    timeout "${TEST_SECONDS:-420}" $python -m pytest -o addopts= -p no:cacheprovider -q -rA tests/test_cuda.py -k "${TESTS:-not cpu}" > "$out/tests.txt" 2>&1 || code=$?
    tail -3 "$out/tests.txt"
fi
if part benchmark; then
    timeout "${BENCHMARK_SECONDS:-420}" $python -m benchmarks --cuda --device "$device" --out "$out/table.md" > "$out/benchmark.txt" 2>&1 || code=$?
    tail -40 "$out/benchmark.txt"
    [ -s "$out/table.md" ] || code=1
fi
if part roofline; then
    $python -m benchmarks.roofline > "$out/roofline.txt" 2>&1 || code=$?
    tail -6 "$out/roofline.txt"
fi
exit "$code"
