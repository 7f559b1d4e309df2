#!/bin/bash
# Makes what is released, out of the tree it stands in:
#
#   deploy/release.sh [FOLDER]      default: target/release-files
#
#   sealrelay_*.deb, sealrelay-mta_*.deb    for Debian 12 and later, linked to the system's OpenSSL
#   sealrelay-*-linux-musl                  one static program, for everything else
#   *.sbom.json                             what is in each, crate by crate; it is in the programs too (cargo audit bin)
#   SHA256SUMS
#
# The packages' OpenSSL is Debian's, and so are its updates. The static program carries its own: whenever OpenSSL or
# aws-lc is mended, a new one has to be released by us, and installed by whoever uses it.
#
# The same source gives the same octets, wherever it lies: paths are replaced, and the time is that of
# deploy/debian/changelog. (With the same toolchain and the same Debian release, that is.) Exit: 69 when a tool is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/packages.sh
. deploy/packages.sh
# shellcheck source=deploy/release-tools.sh
. deploy/release-tools.sh
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

static=x86_64-unknown-linux-musl

tools=(
    "musl-gcc|musl-tools|compiles what is C in the static program"
    "make|make|builds OpenSSL for the static program"
    "perl|perl|configures OpenSSL for the static program"
    "dpkg-shlibdeps|dpkg-dev|finds the packages of the system's libraries"
    "python3|python3|reads the list of crates"
    "objcopy|binutils|takes the list of crates out of a program"
)

# build TARGET-ARGUMENTS...
build() {
    cargo auditable build --release --locked "$@"
}

# The list of crates as cargo-auditable put it into a program: compressed JSON in a section of its own.
bill_of_materials() {
    local unpacked
    unpacked=$(mktemp -d)
    objcopy --dump-section .dep-v0="$unpacked/list" "$1" "$unpacked/program"
    python3 -c 'import json, sys, zlib; print(json.dumps(json.loads(zlib.decompress(sys.stdin.buffer.read())), indent=1))' <"$unpacked/list"
    rm -rf "$unpacked"
}

deploy/quickstart.sh --install-only
install_missing "${tools[@]}"
install_cargo_tool cargo-deb "$cargo_deb"
install_cargo_tool cargo-auditable "$cargo_auditable"
rustup target list --installed | grep -qx $static || rustup target add $static

folder=$(realpath -m "${1:-target/release-files}")
# Beside the source, so that one prefix covers both.
unset CARGO_TARGET_DIR
target=$PWD/target
version=$(sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l deploy/debian/changelog -S Timestamp)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022
export RUSTFLAGS="--remap-path-prefix=$PWD=/sealrelay --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
# OpenSSL would look for plug-ins in the folder it was built in, which may be anybody's on the machine it runs on.
export GNUMAKEFLAGS="MODULESDIR=/nonexistent ENGINESDIR=/nonexistent"

build
make_packages
build --target $static --features pgp-openssl-vendored

rm -rf "$folder"
mkdir -p "$folder"
cp "$target"/debian/sealrelay{,-mta}_"$version"-*.deb "$folder"
program=$folder/sealrelay-$version-${static/-unknown/}
install -m 755 "$target/$static/release/sealrelay" "$program"
# As the packages are; the list of crates stays.
strip "$program"
# With its licences: who passes the program on, passes these on.
cp "$target/THIRD-PARTY.gz" "$program.THIRD-PARTY.gz"
bill_of_materials "$target/release/sealrelay" >"$folder/sealrelay_$version.sbom.json"
bill_of_materials "$program" >"$program.sbom.json"
(cd "$folder" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
