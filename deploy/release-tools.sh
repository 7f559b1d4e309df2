# shellcheck shell=bash
# Sourced by deploy/release.sh and tests/release/lint.sh: the cargo tools that make packages.

# Pinned, as what they write is part of the result.
cargo_deb=3.8.0
# shellcheck disable=SC2034 # for release.sh
cargo_auditable=0.7.7

# install_cargo_tool NAME VERSION: into cargo's bin folder, so only the first run pays for it.
install_cargo_tool() {
    cargo install --list | grep -qx "$1 v$2:" || env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install "$1" --version "$2" --locked --force
}

# make_packages: sealrelay and sealrelay-mta, around the program in the release folder of the target.
make_packages() {
    mkdir -p target
    python3 deploy/third-party.py | gzip -9n >target/THIRD-PARTY.gz
    cargo deb --no-build --locked
    cargo deb --no-build --locked --variant mta
}
