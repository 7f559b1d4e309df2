#!/bin/bash
# From a fresh Debian 12 or 13 with a Rust toolchain to a sealed alert on the screen:
#
#   deploy/quickstart.sh [ARGUMENT...]     installs what the build needs, builds, runs `sealrelay demo ARGUMENT...`
#   deploy/quickstart.sh --install-only    only installs what the build needs
#
# Harmless to run again. Needs root only when something is missing, and says so. Exit: that of the demo, or
# 69 when something is missing that it could not install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/packages.sh
. deploy/packages.sh

build_needs=(
    "cc|gcc|links the program and compiles aws-lc (TLS)"
    "/usr/include/stdio.h|libc6-dev|the C library's headers, for the same"
    "pkg-config|pkg-config|finds OpenSSL"
    "dpkg:libssl-dev|libssl-dev|OpenSSL, the cryptography behind OpenPGP"
    "/etc/ssl/certs/ca-certificates.crt|ca-certificates|lets cargo fetch crates over https"
)

# Not installed here: which toolchain, and how, is the operator's choice.
require_rust() {
    local wanted found=
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' Cargo.toml)
    have cargo || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    # A rustup without a toolchain has a cargo that only complains.
    if have cargo; then found=$(cargo --version | cut -d' ' -f2) || found=; fi
    if [ -z "$found" ]; then
        echo "No Rust toolchain: cargo is neither on PATH nor in ~/.cargo/bin." >&2
        echo "Install Rust $wanted or later (https://rustup.rs), then run this again." >&2
        return 69
    fi
    # "1.95.0-nightly" compares as 1.95.0.
    if [ "$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "Rust $found is too old: Cargo.toml asks for $wanted or later." >&2
        echo "Run \`rustup update\`, or install it from https://rustup.rs, then run this again." >&2
        return 69
    fi
}

require_rust
install_missing "${build_needs[@]}"
[ "${1-}" != --install-only ] || exit 0

cargo build --release --locked
exec "${CARGO_TARGET_DIR:-target}/release/sealrelay" demo "$@"
