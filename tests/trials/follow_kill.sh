#!/bin/bash
# Kills the release binary while it follows a log that is written and rotated, over and over:
#
#   tests/trials/follow_kill.sh [KILLS]      default: 300
#
# Every alert that the rules choose must arrive at each of two recipients, under one number. Some ten minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --release --locked
TRIAL_PROGRAM=$PWD/target/release/sealrelay KILLS=${1:-300} \
    cargo test --locked --test suite -- follow::kill_9 --nocapture
