#!/bin/bash
# Walks every system call of the spool with every fault, with the release binary: errors, kills, power cuts. Prints how
# many calls of each kind were walked. About half an hour on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --release --locked
TRIAL_PROGRAM=$PWD/target/release/sealrelay FAULT_WALK=whole TESTS_REQUIRE_PEERS=1 \
    cargo test --locked --test suite -- fault_walk --nocapture
