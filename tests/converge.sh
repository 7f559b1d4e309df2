#!/bin/bash
# Converges the Ansible role for real, on a Debian 12 with a running Postfix:
#
#   tests/converge.sh          lint, build the collection, converge once, an alert arrives sealed
#   tests/converge.sh --long   then again without a change, and every trial of tests/support/converge/trials.sh
#   tests/converge.sh --lint   lint and build only
#   ... --only "NAME ..."      converge once, then these trials (second_converge, firewall ...)
#   ... --deb FILE FILE        installs these packages (sealrelay, sealrelay-mta) in place of target/debug/sealrelay and
#                              deploy/systemd, and has the second one replace Postfix's
#
# The machine is a debootstrap chroot with a network namespace of its own, which goes away with the script; the relay
# host is a Postfix with TLS in another one. No systemd runs there: tests/support/converge/systemctl says what it stands
# in for, and what not. ossec-control there stands in for the IDS, which Debian has no package of.
#
# As root, on Debian. Exit: 0; 1 with the first thing that does not hold; 69 when something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/packages.sh
. deploy/packages.sh

form=short deb='' mta=''
while [ $# -gt 0 ]; do
    case $1 in
        --long | --lint) form=${1#--} ;;
        --only) form=$2; shift ;;
        --deb) deb=$(realpath "$2") mta=$(realpath "$3"); shift 2 ;;
        *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
    esac
    shift
done
folder=$PWD/target/converge
base=$folder/base
program=${SEALRELAY:-$PWD/target/debug/sealrelay}

say() { printf '==> %s\n' "$*"; }

lint() {
    say "variables: specifications, defaults, template and README agree"
    "$ANSIBLE_FOLDER/venv/bin/python" tests/support/ansible_variables.py
    say "ansible-lint, profile production"
    (cd deploy/ansible && ansible-lint --nocolor --profile production --offline)
    say "the collection builds"
    mkdir -p "$folder"
    ansible-galaxy collection build --force --output-path "$folder" deploy/ansible
}

# The part of an operating system that all converges share; made once.
make_base() {
    local core stamp packages=ca-certificates,iproute2,libssl3,nftables,openssl,postfix,procmail,python3,python3-apt,python3-venv,systemd
    core=$(grep '^ansible-core==' tests/support/ansible-requirements.txt)
    stamp="$packages $core"
    [ "$(cat "$folder/base.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    say "a Debian 12 in $base"
    if [[ $(cat "$folder/base.stamp" 2>/dev/null) != "$packages "* ]]; then
        rm -rf "$base"
        mkdir -p "$base"
        debootstrap --variant=minbase --include=$packages bookworm "$base" >"$folder/log" 2>&1 || { tail "$folder/log" >&2; return 69; }
    fi
    rm -rf "$base/opt/ansible" "$base/wheels"
    "$ANSIBLE_FOLDER/venv/bin/pip" download --quiet --only-binary=:all: --python-version 3.11 --dest "$base/wheels" \
        --constraint tests/support/ansible-requirements.txt "$core" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; return 69; }
    chroot "$base" python3 -m venv /opt/ansible
    chroot "$base" /opt/ansible/bin/pip install --quiet --no-index --find-links /wheels "$core"
    echo "$stamp" >"$folder/base.stamp"
}

tests/support/ansible.sh
# shellcheck source=/dev/null
. target/ansible/env
export PYTHONDONTWRITEBYTECODE=1
lint
[ "$form" != lint ] || exit 0

[ "$(id -u)" = 0 ] || { echo "The converge needs root." >&2; exit 69; }
install_missing "unshare|util-linux|namespaces" "ip|iproute2|networks between them" \
    "debootstrap|debootstrap|a Debian to converge" "gpg|gpg|opens what arrives" "pkill|procps|ends sessions of the relay host"
tests/support/peers.sh
make_base
[ -n "$deb" ] || [ -x "$program" ] || { echo "No $program: build it first (cargo build)." >&2; exit 69; }

# What happens in there ends with its first process, however this one ends.
exec unshare --mount --net --pid --fork --kill-child --mount-proc \
    tests/support/converge/inside.sh "$form" "$base" "$program" "$deb" "$mta"
