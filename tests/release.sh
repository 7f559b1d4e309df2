#!/bin/bash
# What has to hold before a release, with the real things; takes an hour on a slow machine. As root, on Debian:
#
#   tests/release.sh [STEP...]     default: all of them, in this order
#
#   reproducible   builds the last commit in two folders; every file comes out the same
#   sbom           each program carries the list of its crates
#   lintian        no errors
#   static         the static program starts in an empty chroot, and finds names by /etc/hosts and by DNS
#   bench          the static program's line of benches/throughput.sh
#   lifecycle      install, upgrade, remove, reinstall, purge, beside Postfix and in its place, in a chroot
#   converge       the role converges on what was built; the second time nothing changes; every trial; from the packages too
#
# The steps behind the first use what it built, in target/release-trial (or the folder that RELEASE_TRIAL names). Ends with
# a summary; status 1 if anything does not hold. Every step is bounded in time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/packages.sh
. deploy/packages.sh
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
# Nobody is there to answer questions.
exec </dev/null

work=$(realpath -m "${RELEASE_TRIAL:-target/release-trial}")
files=$work/one/target/release-files
# Of other lengths, and at another depth.
folders=("$work/one" "$work/a/folder/of-another-name")

note() { printf '%-14s %s\n' "$step" "$*" >>"$work/summary"; }

fail() {
    note "DOES NOT HOLD: $*"
    return 1
}

# --- reproducible ---------------------------------------------------------------------------------------------------

step_reproducible() {
    local folder
    for folder in "${folders[@]}"; do
        mkdir -p "$folder"
        # What was built stays, so that a second run is quicker; what is no longer in the tree goes.
        find "$folder" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
        git archive HEAD | tar -x -C "$folder"
        timeout 7200 "$folder/deploy/release.sh" >"$folder.log" 2>&1 ||
            { tail -n 30 "$folder.log"; fail "deploy/release.sh in $folder: see $folder.log"; return; }
    done
    if ! diff <(cat "$files/SHA256SUMS") <(cat "${folders[1]}/target/release-files/SHA256SUMS"); then
        fail "two builds of $(git rev-parse --short HEAD) differ"
        return
    fi
    note "two builds of $(git rev-parse --short HEAD), in two folders: the same $(wc -l <"$files/SHA256SUMS") files"
    while read -r sum name; do note "  $sum  $name"; done < <(grep -v json "$files/SHA256SUMS")
}

# --- sbom -----------------------------------------------------------------------------------------------------------

step_sbom() {
    local bill crate
    for bill in "$files"/*.sbom.json; do
        for crate in sealrelay sequoia-openpgp openssl-sys rustls aws-lc-sys; do
            grep -q "\"name\": \"$crate\"" "$bill" || { fail "$crate is not in $bill"; return; }
        done
        note "$(basename "$bill"): $(grep -c '"name"' "$bill") crates"
    done
    grep -q '"name": "openssl-src"' "$files"/*musl.sbom.json || { fail "the static program does not tell its OpenSSL"; return; }
    # In what is installed too, after stripping.
    rm -rf "$work/unpacked"
    dpkg -x "$files"/sealrelay_*.deb "$work/unpacked"
    readelf -S "$work/unpacked/usr/bin/sealrelay" | grep -qF .dep-v0 || { fail "the packaged program carries no list"; return; }
    if command -v cargo-audit >/dev/null && [ -d "${ADVISORY_DB:-$HOME/.cargo/advisory-db}" ]; then
        cargo audit --no-fetch --db "${ADVISORY_DB:-$HOME/.cargo/advisory-db}" bin "$work/unpacked/usr/bin/sealrelay" "$files"/*musl ||
            { fail "cargo audit has something to tell"; return; }
        note "cargo audit: nothing known against any of them"
    else
        note "cargo audit: not run, there is no advisory database here (ADVISORY_DB names one)"
    fi
}

# --- lintian --------------------------------------------------------------------------------------------------------

step_lintian() {
    local said errors
    said=$(timeout 600 lintian --allow-root --tag-display-limit 0 "$files"/*.deb) || true
    echo "$said"
    errors=$(grep -c '^E:' <<<"$said") || true
    [ "$errors" = 0 ] || { fail "lintian: $errors error(s)"; return; }
    note "no errors, $(grep -c '^W:' <<<"$said" || true) warning(s): $(sed -n 's/^W: [^ ]* \([^ ]*\).*/\1/p' <<<"$said" | sort | uniq -c | tr -s ' \n' ' ')"
}

# --- static ---------------------------------------------------------------------------------------------------------

step_static() {
    local program=("$files"/*musl) empty=$work/empty
    program=${program[0]}
    if readelf -d "$program" | grep -q NEEDED || readelf -l "$program" | grep -q INTERP; then
        fail "$program wants libraries"
        return
    fi
    # The folder it was built in may be anybody's elsewhere: nothing of it is looked at.
    ! grep -qaF -e "$work" -e "${CARGO_HOME:-$HOME/.cargo}" "$program" || { fail "it knows the folder it was built in"; return; }
    rm -rf "$empty"
    mkdir -p "$empty/etc"
    cp "$program" "$empty/sealrelay"
    echo "127.0.0.1 by-hosts.test" >"$empty/etc/hosts"
    printf 'nameserver 127.0.0.1\noptions timeout:2 attempts:2\n' >"$empty/etc/resolv.conf"
    timeout 120 unshare --net tests/release/resolver.sh "$empty" || { fail "the resolver trial, above"; return; }
    # Its own daemon, confined as ever: another C library makes other system calls.
    timeout 120 "$program" demo >"$work/demo.log" 2>&1 || { tail -n 30 "$work/demo.log"; fail "its demo: see $work/demo.log"; return; }
    note "the demo: an alert was taken, sealed, relayed and read"
    note "$(stat -c %s "$program") octets, no libraries; in a chroot with two files: a name by /etc/hosts, one by DNS, none that is not there"
}

# --- bench ----------------------------------------------------------------------------------------------------------

step_bench() {
    local program=("$files"/*musl) said
    said=$(SEALRELAY=${program[0]} timeout 1800 benches/throughput.sh --messages 500 --default-messages 50) ||
        { echo "$said"; fail "benches/throughput.sh"; return; }
    echo "$said"
    note "static, 500 messages: $(sed -n 's/^ *\(accepted\|delivered\) *\([0-9,.]*[^ ]*\) .*/\1 \2/p' <<<"$said" | head -n 2 | paste -sd' ')"
}

# --- lifecycle ------------------------------------------------------------------------------------------------------

step_lifecycle() {
    timeout 3600 tests/release/lifecycle.sh "$work" "$files" 2>&1 | tee "$work/lifecycle.log" ||
        { fail "see $work/lifecycle.log"; return; }
    while read -r line; do note "$line"; done < <(sed -n 's/^ok: //p' "$work/lifecycle.log")
}

# --- converge -------------------------------------------------------------------------------------------------------

step_converge() {
    SEALRELAY=$work/one/target/release/sealrelay converge --long || return
    converge --only sendmail_package --deb "$files"/sealrelay_*.deb "$files"/sealrelay-mta_*.deb
}

# converge ARGUMENT...: notes what held.
converge() {
    timeout 3600 tests/converge.sh "$@" 2>&1 | tee "$work/converge.log" || { fail "tests/converge.sh $*: see $work/converge.log"; return; }
    while read -r line; do note "$line"; done < <(sed -n 's/^ok  //p; s/^ *localhost *: *\(ok=.*\)/  \1/p' "$work/converge.log" | tr -s ' ')
}

# --------------------------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || { echo "As root only: chroots and namespaces." >&2; exit 77; }
install_missing "lintian|lintian|judges the packages" "debootstrap|debootstrap|makes the chroot" \
    "ip|iproute2|brings up the loopback of a namespace" "python3|python3|a small DNS server" \
    "readelf|binutils|looks into programs" "gpg|gpg|makes the recipient's certificate"
mkdir -p "$work"
steps=("$@")
[ $# -gt 0 ] || steps=(reproducible sbom lintian static bench lifecycle converge)
for step in "${steps[@]}"; do
    declare -F "step_$step" >/dev/null || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 64; }
done
: >"$work/summary"
status=0
for step in "${steps[@]}"; do
    printf '\n==> %s\n' "$step"
    # Not `step_... ||`, which would switch `set -e` off inside it.
    set +e
    (set -e; "step_$step")
    [ $? = 0 ] || status=1
    set -e
done
printf '\nSummary\n'
cat "$work/summary"
exit $status
