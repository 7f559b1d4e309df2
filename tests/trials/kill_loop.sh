#!/bin/bash
# Kills the release binary under load, over and over:
#
#   tests/trials/kill_loop.sh [KILLS]      default: 500
#
# Nothing acknowledged may be lost, and every sequence number is accounted for. Some five minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --release --locked
TRIAL_PROGRAM=$PWD/target/release/sealrelay KILLS=${1:-500} \
    cargo test --locked --test suite -- kill_9_at_random_moments --nocapture
