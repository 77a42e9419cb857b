#!/usr/bin/env bash
# Checks and measures the CUDA kernels on a machine with a GPU:
#
#   bash benchmarks/gpu_check.sh [MINUTES] [FOLDER]     8 minutes, benchmarks/results/gpu/<card>
#
# Facts, then right numbers, then speed. Each stage has a limit and a file of its own, is written as it goes, and is left
# out when too little time is left. If numbers are wrong, nothing is timed. Wants torch with CUDA; builds the modules if
# they are missing.
set -u
cd "$(dirname "$0")/.."
minutes=${1:-8}
card=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr -c 'A-Za-z0-9\n' '_')
out=${2:-benchmarks/results/gpu/${card:?no GPU: nvidia-smi shows none}}
mkdir -p "$out"
rm -f "$out"/{facts,numbers,profile,bench,sanitizers,summary}.txt
export PYTHONUNBUFFERED=1 PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$PWD CUDA_MODULE_LOADING=LAZY
export ELMO_FAST_BENCHMARK_CACHE=${ELMO_FAST_BENCHMARK_CACHE:-/tmp/elmo_fast_models}

left() { echo $((minutes * 60 - SECONDS)); }
stage() { # limit in seconds, least seconds that must be left, file, command...
  local limit=$1 least=$2 file=$out/$3 have start rc
  shift 3
  have=$(left)
  if [ "$have" -lt "$least" ]; then echo "left out, ${have}s left: $*" | cut -c1-150 | tee -a "$out/summary.txt"; return 99; fi
  [ "$limit" -gt "$have" ] && limit=$have
  start=$SECONDS
  { echo "### $*" | cut -c1-300; timeout -k 5 "$limit" "$@"; } >>"$file" 2>&1
  rc=$?
  printf '%4ds exit %d: %s\n' $((SECONDS - start)) $rc "$*" | cut -c1-150 | tee -a "$out/summary.txt"
  return $rc
}

{ date -u; lscpu; nvidia-smi; nvidia-smi -q -d CLOCK,POWER,ECC,COMPUTE | head -90; nvcc --version; python3 --version
  python3 -c 'import torch; print("torch", torch.__version__, torch.backends.cudnn.version())'; } >"$out/facts.txt" 2>&1

python3 -c 'import elmo_fast; b = elmo_fast.build_info(); print(b); assert b["cuda_built"]' >>"$out/facts.txt" 2>&1 ||
  stage 240 0 facts.txt python3 setup.py build_ext --inplace || exit 1
python3 -c 'from elmo_fast.bench import sizes; sizes.model_files("original")' >/dev/null 2>&1 & model=$!

stage 60 0 numbers.txt python3 tests/cuda/gpu_smoke.py; right=$?
stage 110 60 numbers.txt python3 -m pytest -q --maxfail=8 --durations=8 -p no:cacheprovider tests/cuda/test_cuda_gpu.py; tests=$?
if [ $right -ne 0 ]; then
  stage 60 30 numbers.txt compute-sanitizer --tool memcheck --print-limit 5 python3 tests/cuda/gpu_smoke.py 2
  echo "wrong numbers: nothing is timed" | tee -a "$out/summary.txt"
  exit 1
fi
wait $model
stage 75 40 profile.txt python3 benchmarks/gpu_profile.py --seconds 0.3 --output "$out/profile.json"
stage 80 50 bench.txt python3 -m elmo_fast bench --device cuda --model original --suite table --minutes 1 \
  --repeats 5 --budget 4 --output "$out/bench.json"
pids=()
for tool in memcheck racecheck synccheck initcheck; do
  (stage 75 45 "sanitizers.txt" compute-sanitizer --tool $tool --kernel-regex kns=elmo_fast --error-exitcode 7 --print-limit 5 \
    python3 tests/cuda/gpu_smoke.py 2) & pids+=($!)
done
wait "${pids[@]}"
cat "$out/summary.txt"
exit $((right || tests))
