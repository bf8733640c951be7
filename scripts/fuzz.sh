#!/usr/bin/env bash
# Runs every fuzz target under libFuzzer, one after the other.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     30 seconds each, all targets, unless told otherwise
#
# Works with the stable compiler: the coverage that libFuzzer follows is a pass of LLVM, asked for by -C flags. What it
# has learnt stays in fuzz/corpus/TARGET; an input that fails goes to fuzz/artifacts/TARGET and ends the run.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${1:-30}
shift || true

command -v c++ >/dev/null || { echo "fuzz: libFuzzer needs a C++ compiler (Debian: apt-get install g++)" >&2; exit 1; }

host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, so that build scripts stay as they are. The level counts edges; compares help through magic numbers.
RUSTFLAGS="-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
-C llvm-args=-sanitizer-coverage-trace-compares -C codegen-units=1" \
  cargo build --quiet --release --locked --target "$host"
fuzzer=target/$host/release/ratbond-fuzz

if [ $# -eq 0 ]; then
  mapfile -t targets < <(FUZZ_TARGET='' "$fuzzer" -runs=1 2>/dev/null)
else
  targets=("$@")
fi
[ ${#targets[@]} -gt 0 ] || { echo "fuzz: the fuzzer names no target" >&2; exit 1; }

for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  log=artifacts/$target/log
  if ! FUZZ_TARGET=$target "$fuzzer" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 "corpus/$target" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "fuzz: $target failed; the input is in fuzz/artifacts/$target" >&2
    exit 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  echo "fuzz: $target: $runs runs, $coverage edges seen"
done
