#!/bin/bash
# Runs the fuzz targets, each for SECONDS (default 600), and prints executions and findings:
#
#   fuzz/run.sh [SECONDS [TARGET...]]
#
# Corpora grow in fuzz/corpus (not kept), from fuzz/seeds and tests/captures. A finding lies in fuzz/artifacts/TARGET;
# `cargo fuzz run TARGET FILE` repeats it. Needs cargo-fuzz (`cargo install cargo-fuzz --locked`) and a C++ compiler. No
# nightly compiler: the coverage flags are unlocked on the stable one, and without a sanitizer, since unsafe code is
# forbidden here. Exit status 1 if there is a finding.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export RUSTC_BOOTSTRAP=1

seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(command data reply entry header session alert import blocks json)

# Captures begin with a client's commands. One octet 0 in front is "no choices" and "no flags".
seed() {
    local target=$1 corpus=fuzz/corpus/$1
    mkdir -p "$corpus"
    cp fuzz/seeds/"$target"/* "$corpus"/
    for capture in tests/captures/*.bin; do
        case $target in
            entry | reply | import | json) ;;
            header | blocks) cp "$capture" "$corpus/capture-$(basename "$capture")" ;;
            *) { printf '\0'; cat "$capture"; } >"$corpus/capture-$(basename "$capture")" ;;
        esac
    done
}

cargo fuzz build -s none
found=0
for target in "${targets[@]}"; do
    seed "$target"
    log=$(mktemp)
    status=ok
    cargo fuzz run -s none "$target" -- -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=1024 \
        -print_final_stats=1 >"$log" 2>&1 || { status=FINDING; found=1; tail -n 40 "$log"; }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    printf '%-8s %s s, %s executions, %s, %s\n' "$target" "$seconds" "${executions:-?}" "${coverage:-cov: ?}" "$status"
    rm -f "$log"
done
exit $found
