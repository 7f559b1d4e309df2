#!/bin/bash
# All tests, with the real programs they talk to:
#
#   tests/run.sh [ARGUMENT...]      arguments go to `cargo test`
#
# First installs what building and testing need, saying what (see deploy/quickstart.sh and tests/support/peers.sh).
# Without root, and with something missing, it says what and runs what it can: tests that need a missing peer skip and
# say so. In CI (CI=true) a skipped test is a failing test, so there a missing peer ends it. Harmless to run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for script in deploy/*.sh tests/*.sh tests/support/*.sh tests/trials/*.sh tests/release/*.sh benches/*.sh benches/compare/*.sh certs/*.sh keys/*.sh .ci/run; do
    [ ! -e "$script" ] || bash -n "$script"
done

in_ci() { [ "${CI:-}" = true ]; }

# Without these there is nothing to test.
deploy/quickstart.sh --install-only
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

if in_ci; then export TESTS_REQUIRE_PEERS=1; fi
if ! tests/support/peers.sh; then
    ! in_ci || exit 69
    echo "Going on without: tests that need what is missing skip, and say so."
fi
if [ -r target/peers/env ]; then
    # shellcheck source=/dev/null
    . target/peers/env
    # Postfix runs only as root. That it is the relay host our tests take it for is tested first.
    if [ "$(id -u)" = 0 ]; then tests/support/postfix_selftest.sh; fi
fi

# Most tests wait for programs, for disks and for clocks, not for a processor.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 2))}
cargo test --locked "$@"
