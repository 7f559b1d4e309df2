#!/bin/bash
# Makes the Debian packages around the program that the tests have built, and lets lintian judge them: no errors. Quick,
# because nothing is built for it; what is released is made by deploy/release.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/packages.sh
. deploy/packages.sh
# shellcheck source=deploy/release-tools.sh
. deploy/release-tools.sh
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

install_missing "lintian|lintian|judges the packages" "dpkg-shlibdeps|dpkg-dev|finds the packages of the system's libraries" \
    "strip|binutils|takes the debug information out of the program" "python3|python3|reads the list of crates"
install_cargo_tool cargo-deb "$cargo_deb"
built=${CARGO_TARGET_DIR:-target}/debug/sealrelay
export CARGO_TARGET_DIR=$PWD/target/lint
rm -rf "$CARGO_TARGET_DIR"
mkdir -p "$CARGO_TARGET_DIR/release"
strip -o "$CARGO_TARGET_DIR/release/sealrelay" "$built"
make_packages
timeout 600 lintian --allow-root --tag-display-limit 0 --fail-on error "$CARGO_TARGET_DIR"/debian/*.deb
