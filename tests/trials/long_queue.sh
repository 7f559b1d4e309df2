#!/bin/bash
# Starts the release binary on a long queue and prints how long it takes to the first delivery, and its memory:
#
#   tests/trials/long_queue.sh [ENTRIES]   default: 100000, for which 2 GB are needed in TMPDIR
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --release --locked
TRIAL_PROGRAM=$PWD/target/release/sealrelay ENTRIES=${1:-100000} \
    cargo test --locked --test suite -- a_long_queue --nocapture
