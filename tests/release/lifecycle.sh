#!/bin/bash
# The life of the packages in a chroot: tests/release/lifecycle.sh WORK FILES, as root; FILES has the packages.
#
# The chroot has no running systemd, so units are enabled and masked but not started; the relay is started by hand, in a
# network namespace, as the units' user. Prints `ok: ...` for what holds; ends at the first thing that does not.
set -euo pipefail
work=$1 files=$2
base=$work/base.tar root=$work/chroot
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

ok() { echo "ok: $*"; }
die() { echo "does not hold: $*" >&2; exit 1; }
expect() { "$@" || die "$*"; }
refuse() { ! "$@" || die "not: $*"; }

inside() { timeout 600 chroot "$root" "$@"; }
apt() { inside apt-get -q -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; die "apt-get $*"; }; }
is_installed() { [ "$(inside dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
is_enabled() { [ -L "$root/etc/systemd/system/sockets.target.wants/sealrelay.socket" ]; }
# What dpkg or a script of ours said.
said() { grep -q "$1" "$work/apt.log" || { cat "$work/apt.log"; die "it did not say: $1"; }; }

# Whatever was mounted goes again, also after a fault.
finish() { umount "$root/proc" "$root/dev" 2>/dev/null || true; }
trap finish EXIT

make_chroot() {
    local suite
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    if [ ! -e "$base" ]; then
        rm -rf "$root"
        timeout 1800 debootstrap --variant=minbase --include=systemd,ca-certificates "$suite" "$root" >"$work/debootstrap.log" 2>&1 ||
            { tail "$work/debootstrap.log"; die "debootstrap"; }
        # As this machine gets its packages.
        rm -rf "$root/etc/apt"
        cp -a /etc/apt "$root/etc/apt"
        chroot "$root" apt-get -q update >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; die "apt-get update"; }
        tar -C "$root" -cf "$base.new" . && mv "$base.new" "$base"
    fi
    umount "$root/proc" "$root/dev" 2>/dev/null || true
    rm -rf "$root"
    mkdir "$root"
    tar -C "$root" -xf "$base"
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # No service of the chroot starts on this machine.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
}

# The packages, and the same with a lower version.
make_packages() {
    local package older
    mkdir "$root/packages"
    for package in "$files"/*.deb; do
        cp "$package" "$root/packages/$(basename "${package%%_*}").deb"
        older=$work/older
        rm -rf "$older"
        dpkg-deb -R "$package" "$older"
        sed -i 's/^Version: .*/Version: 0.0.9-1/; s/(= [^)]*)/(= 0.0.9-1)/' "$older/DEBIAN/control"
        dpkg-deb --root-owner-group -b "$older" "$root/packages/$(basename "${package%%_*}")-older.deb" >/dev/null
    done
}

# As an operator would, and a relay host that is not there, so that mail waits.
configure() {
    local home
    home=$(mktemp -d)
    gpg --homedir "$home" --batch --quiet --passphrase '' --quick-generate-key '<admin@example.org>' default default never 2>/dev/null
    gpg --homedir "$home" --export --armor >"$root/etc/sealrelay/admin.asc"
    cat >"$root/etc/sealrelay/sealrelay.toml" <<CONFIGURATION
[listen]
addresses = ["127.0.0.1:2525"]
[sender]
address = "ossec@example.org"
[[recipient]]
address = "admin@example.org"
certificate = "admin.asc"
fingerprint = "$(gpg --homedir "$home" --batch --quiet --with-colons --list-keys 2>/dev/null | sed -n 's/^fpr:*\([0-9A-F]*\):/\1/p' | head -n 1)"
[[relay]]
host = "127.0.0.1"
port = 1
# Only what is handed in counts here.
[heartbeat]
every = "off"
CONFIGURATION
    gpgconf --homedir "$home" --kill all
    rm -rf "$home"
    chgrp -R --reference="$root/etc/sealrelay" "$root/etc/sealrelay"
    chmod 640 "$root"/etc/sealrelay/*
}

as_service() { inside setpriv --reuid=sealrelay --regid=sealrelay --init-groups env HOME=/ "$@"; }

# with_relay COMMAND...: while the relay runs, in a network of its own; COMMAND is any account's.
with_relay() {
    timeout 120 unshare --net bash -euc '
        ip link set lo up
        root=$1; shift
        chroot "$root" install -d -m 755 -o sealrelay -g sealrelay /run/sealrelay
        chroot "$root" setpriv --reuid=sealrelay --regid=sealrelay --init-groups /usr/bin/sealrelay run >"$root/tmp/relay.log" 2>&1 &
        relay=$!
        trap "kill -TERM $relay 2>/dev/null; wait $relay 2>/dev/null || true" EXIT
        for try in $(seq 60); do [ ! -S "$root/run/sealrelay/smtp.sock" ] || break; sleep 0.5; done
        chroot "$root" setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"
    ' with_relay "$root" "$@" || { cat "$root/tmp/relay.log"; die "with the relay: $*"; }
}

queued() { as_service sealrelay queue list --json | grep -c '"queue_id"' || true; }

beside_postfix() {
    apt install postfix
    apt install /packages/sealrelay-older.deb
    said "not started, because there is no /etc/sealrelay/sealrelay.toml"
    expect is_installed postfix
    refuse is_enabled
    expect [ "$(inside stat -c '%U %a' /var/spool/sealrelay /var/lib/sealrelay | sort -u)" = "sealrelay 700" ]
    expect [ "$(inside stat -c '%U:%G %a' /etc/sealrelay)" = "root:sealrelay 750" ]
    expect [ -s "$root/usr/share/man/man8/sealrelay.8.gz" ]
    ok "installed beside Postfix, which stays the MTA; user and folders made; nothing enabled, nothing started"
}

upgraded() {
    configure
    expect as_service sealrelay config check >/dev/null
    inside systemctl enable sealrelay.socket sealrelay.service >/dev/null 2>&1
    with_relay sh -c 'printf "Subject: first\n\nan alert\n" | sealrelay sendmail root'
    expect [ "$(queued)" = 1 ]
    apt install /packages/sealrelay.deb
    expect is_enabled
    expect [ "$(queued)" = 1 ]
    expect as_service sealrelay config check >/dev/null
    ok "upgraded from 0.0.9-1: units stay enabled, configuration and the waiting message stay"
}

in_postfix_place() {
    apt install /packages/sealrelay-mta.deb
    refuse is_installed postfix
    expect is_installed sealrelay-mta
    for name in sbin/sendmail bin/mailq bin/newaliases lib/sendmail; do
        expect [ "$(inside readlink -f "/usr/$name")" = /usr/bin/sealrelay ]
    done
    with_relay sh -c 'printf "Subject: second\n\nan alert\n" | /usr/sbin/sendmail -t -i root && newaliases'
    as_service mailq >"$work/mailq.log"
    expect grep -q "2 Requests" "$work/mailq.log"
    for page in man8/sendmail.8.gz man1/mailq.1.gz man1/newaliases.1.gz; do
        expect inside test -s "/usr/share/man/$page"
    done
    ok "sealrelay-mta replaced Postfix: any account hands in by sendmail, the service's lists by mailq"
    apt install postfix
    expect is_installed postfix
    refuse is_installed sealrelay-mta
    expect is_installed sealrelay
    apt install /packages/sealrelay-mta.deb
    ok "Postfix replaced sealrelay-mta and the other way round; sealrelay stayed"
}

removed_and_installed_again() {
    local signer
    signer=$(as_service sealrelay keys signer --json)
    apt remove sealrelay
    said "2 sealed message(s) stay in /var/spool/sealrelay"
    refuse [ -e "$root/usr/bin/sealrelay" ]
    refuse [ -L "$root/usr/sbin/sendmail" ]
    expect [ -L "$root/etc/systemd/system/sealrelay.socket" ]    # masked
    apt install /packages/sealrelay.deb
    refuse [ -L "$root/etc/systemd/system/sealrelay.socket" ]
    expect is_enabled
    expect [ "$(queued)" = 2 ]
    expect [ "$(as_service sealrelay keys signer --json)" = "$signer" ]
    ok "removed: 2 messages, key and configuration stay, and it says so; installed again, it goes on with them"
}

purged() {
    apt purge sealrelay
    said "WARNING: 2 sealed message(s) in /var/spool/sealrelay that no relay host took are deleted now"
    said "WARNING: the signing key"
    refuse [ -e "$root/var/spool/sealrelay" ]
    refuse [ -e "$root/var/lib/sealrelay" ]
    refuse [ -e "$root/etc/sealrelay" ]
    expect [ -z "$(find "$root/etc/systemd" "$root/var/lib/systemd/deb-systemd-helper-enabled" -name 'sealrelay*' 2>/dev/null)" ]
    expect inside getent passwd sealrelay >/dev/null
    ok "purged: says that 2 messages and the key are lost, then nothing is left but the user"
    apt install /packages/sealrelay.deb
    refuse is_enabled
    apt purge sealrelay
    refuse grep -q WARNING "$work/apt.log"
    ok "installed and purged once more without ever running: no warning"
}

make_chroot
make_packages
beside_postfix
upgraded
in_postfix_place
removed_and_installed_again
purged
