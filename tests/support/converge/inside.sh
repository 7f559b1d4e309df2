#!/bin/bash
# Called by tests/converge.sh, as the first process of a new mount, network and process namespace: makes the monitor
# server and the relay host, then converges and runs the trials.
#
#   inside.sh short|long|"TRIAL ..." BASE PROGRAM DEB MTA_DEB
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
form=$1 base=$2 program=$3 deb=$4 mta=$5
project=$PWD
support=$project/tests/support/converge
# In memory, and gone with the namespace.
work=/tmp/converge
mount --make-rprivate /
mkdir -p "$work"
mount -t tmpfs tmpfs "$work"
root=$work/root

ok() { printf 'ok  %s\n' "$*"; }
fail() {
    printf 'does not hold: %s\n' "$*" >&2
    cp "$work/play.log" "$project/target/converge/play.log" 2>/dev/null || true
    tail -n 40 "$work/play.log" "$root"/run/standin/*.log "$work/relay.err" >&2 2>/dev/null || true
    exit 1
}

in_monitor() { chroot "$root" /usr/bin/env -i PATH=/opt/ansible/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root "$@"; }

make_monitor() {
    mkdir -p "$work"/{upper,scratch,root}
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/scratch" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mkdir -p "$root"/root/{collections,play}
    install -m 0755 "$support/systemctl" "$root/usr/local/bin/systemctl"
    printf '%s\n' "127.0.0.1 localhost mon" "192.0.2.10 smtp.example.org" >"$root/etc/hosts"
}

# As on the guide's servers: no IPv6 anywhere.
make_networks() {
    echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
    ip link set lo up
    unshare --net sleep infinity &
    relay_net=$!
    # Until it is in its own.
    for _ in {1..50}; do
        [ "$(readlink "/proc/$relay_net/ns/net")" = "$(readlink /proc/self/ns/net)" ] || break
        sleep 0.1
    done
    ip link add to-relay type veth peer name to-monitor netns "$relay_net"
    ip address add 192.0.2.1/24 dev to-relay
    ip link set to-relay up
    in_relay ip address add 192.0.2.10/24 dev to-monitor
    in_relay ip link set to-monitor up
    in_relay ip link set lo up
}

in_relay() { nsenter --net="/proc/$relay_net/ns/net" "$@"; }

make_keys() {
    export GNUPGHOME=$work/gnupg
    mkdir -m 700 "$GNUPGHOME"
    local name
    for name in admin other; do
        gpg --batch --quiet --passphrase '' --quick-generate-key "$name@example.org" ed25519 sign 2y
        gpg --batch --quiet --passphrase '' --quick-add-key "$(fingerprint_of $name)" cv25519 encr 2y
    done 2>"$work/gpg.log"
    fingerprint=$(fingerprint_of admin) other=$(fingerprint_of other)
    gpg --armor --export "$fingerprint" >"$root/root/play/ossec.pub"
    gpg --armor --export "$other" >"$root/root/play/journalist.pub"
}

fingerprint_of() { gpg --batch --with-colons --list-keys "$1@example.org" 2>/dev/null | awk -F: '$1 == "fpr" { print $10; exit }'; }

make_certificates() {
    local name
    mkdir "$work/tls"
    for name in MyOrg Wrong; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj "/CN=$name CA" \
            -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$work/tls/$name.key" -out "$root/root/play/$name.crt"
    done
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=smtp.example.org" \
        -keyout "$work/tls/server.key" -out "$work/tls/request.pem"
    openssl x509 -req -in "$work/tls/request.pem" -CA "$root/root/play/MyOrg.crt" -CAkey "$work/tls/MyOrg.key" \
        -CAcreateserial -days 9 -extfile <(echo subjectAltName=DNS:smtp.example.org) -out "$work/tls/server.pem"
    sha1=$(openssl x509 -in "$work/tls/server.pem" -noout -fingerprint | cut -d= -f2)
    sha256=$(openssl x509 -in "$work/tls/server.pem" -noout -fingerprint -sha256 | cut -d= -f2)
}

# trust_system_roots yes|no: whether the relay host's authority is one of the monitor's own.
trust_system_roots() {
    local place=$root/usr/local/share/ca-certificates/MyOrg.crt
    if [ "$1" = yes ]; then cp "$root/root/play/MyOrg.crt" "$place"; else rm -f "$place"; fi
    in_monitor update-ca-certificates --fresh >/dev/null 2>&1
}

make_relay_host() {
    mkfifo "$work/relay.in"
    # shellcheck source=/dev/null
    . "$project/target/peers/env"
    in_relay tests/support/postfix.sh "$work/relay" 587 "$work/tls/server.pem" "$work/tls/server.key" \
        ossec@example.org 'pass # "word"' --implicit 465 <"$work/relay.in" >"$work/relay.out" 2>"$work/relay.err" &
    exec {lifeline}>"$work/relay.in"
    in_relay "$support/forward.py" 192.0.2.10 587 465 >"$work/forward.out" &
    for _ in {1..300}; do
        ! grep -qx ready "$work/relay.out" || return 0
        sleep 0.1
    done
    fail "the relay host starts"
}

# The stack that is replaced: Postfix on 127.0.0.1:25, procmail's recipe, an IDS that sends there.
make_old_stack() {
    cat >"$root/etc/postfix/main.cf" <<'MAIN'
compatibility_level = 3.6
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mon
mydestination = mon, localhost
mynetworks = 127.0.0.0/8
relayhost = [192.0.2.99]:587
maillog_file = /var/log/mail.log
MAIN
    [ -e "$root/etc/postfix/master.cf" ] || cp "$root/usr/share/postfix/master.cf.dist" "$root/etc/postfix/master.cf"
    grep -q '^postlog' "$root/etc/postfix/master.cf" || echo 'postlog unix-dgram n - n - 1 postlogd' >>"$root/etc/postfix/master.cf"
    in_monitor systemctl enable postfix.service 2>/dev/null
    in_monitor systemctl start postfix.service
    mkdir -p "$root"/var/ossec/{bin,etc}
    install -m 0755 "$support/ossec-control" "$root/var/ossec/bin/ossec-control"
    echo ':0' >"$root/var/ossec/.procmailrc"
    cat >"$root/var/ossec/etc/ossec.conf" <<'OSSEC'
<ossec_config>
  <global>
    <email_notification>yes</email_notification>
    <email_to>root@localhost</email_to>
    <smtp_server>127.0.0.1</smtp_server>
    <email_from>ossec@ossec.server</email_from>
  </global>
</ossec_config>
OSSEC
}

# As the guide's prompts write it, with everything that is optional.
make_site_specific() {
    cat >"$root/root/play/site-specific" <<SITE
ossec_alert_gpg_public_key: ossec.pub
ossec_gpg_fpr: $fingerprint
ossec_alert_email: admin@example.org
journalist_alert_gpg_public_key: journalist.pub
journalist_gpg_fpr: $other
journalist_alert_email: journalist@example.org
smtp_relay: smtp.example.org
smtp_relay_port: 587
sasl_username: ossec
sasl_domain: example.org
sasl_password: 'pass # "word"'
monitor_hostname: mon
dns_server: [192.0.2.53]
SITE
    cat >"$root/root/play/play.yml" <<'PLAY'
- name: Converge
  hosts: localhost
  connection: local
  gather_facts: false
  roles:
    - role: sealrelay.sealrelay.sealrelay
PLAY
    cp "$project"/target/converge/sealrelay-sealrelay-*.tar.gz "$root/root/play/collection.tar.gz"
    in_monitor ansible-galaxy collection install -p /root/collections /root/play/collection.tar.gz --offline >"$work/galaxy.log" 2>&1 || {
        cat "$work/galaxy.log" >&2
        fail "the collection installs"
    }
    if [ -n "$deb" ]; then
        cp "$deb" "$root/root/play/sealrelay.deb"
        cp "$mta" "$root/root/play/sealrelay-mta.deb"
        echo '{"sealrelay_install": "deb", "sealrelay_deb": "/root/play/sealrelay.deb", "sealrelay_mta_deb": "/root/play/sealrelay-mta.deb"}' >"$root/root/play/install.json"
    else
        # A debug build is mostly debug information, which every run would have to sum up.
        strip -o "$root/root/play/sealrelay" "$program" 2>/dev/null || cp "$program" "$root/root/play/sealrelay"
        cp -r "$project/deploy/systemd" "$root/root/play/units"
        echo '{"sealrelay_install": "binary", "sealrelay_binary": "/root/play/sealrelay", "sealrelay_units": "/root/play/units"}' \
            >"$root/root/play/install.json"
    fi
}

# play [ARGUMENT]...: one run; its recap goes to standard output, all of it to play.log.
play() {
    local status=0 started=$SECONDS
    in_monitor ANSIBLE_COLLECTIONS_PATH=/root/collections ANSIBLE_NOCOWS=1 ANSIBLE_PIPELINING=1 ansible-playbook -i localhost, \
        -e @/root/play/site-specific -e @/root/play/install.json "$@" /root/play/play.yml >"$work/play.log" 2>&1 || status=$?
    printf '    %s  (%s s)\n' "$(grep -E '^localhost +:' "$work/play.log" | tail -n 1)" $((SECONDS - started))
    return $status
}

# With variables as JSON.
converges() { play -e "${1:-{\}}" || fail "it converges with ${1:-the site-specific file alone}"; }
refuses() { ! play -e "$1" || fail "it refuses $1"; }
says() { grep -qF -- "$1" "$work/play.log" || fail "it says: $1"; }
changed() { grep -E '^localhost +:' "$work/play.log" | grep -q " changed=$1 " || fail "changed=$1"; }

# What the recipient reads, each mail once, beside its mail's name.
open_mails() {
    local mail
    mkdir -p "$work/opened"
    for mail in "$work"/relay/Maildir/new/*; do
        [ -e "$mail" ] && [ ! -e "$work/opened/${mail##*/}" ] || continue
        sed -n '/BEGIN PGP MESSAGE/,/END PGP MESSAGE/p' "$mail" |
            gpg --batch --quiet --decrypt >"$work/opened/${mail##*/}" 2>"$work/gpg.log" || true
    done
}

# arrives WORDS: an alert of the IDS with these words is opened by its recipient.
arrives() {
    in_monitor /var/ossec/bin/ossec-control send "$1" || fail "the IDS hands in an alert: $1"
    is_opened "$1"
}

# is_opened WORDS: the recipient reads them in a mail of which the relay host reads no word. Sets last_mail.
is_opened() {
    local words=$1 found
    for _ in {1..120}; do
        open_mails
        found=$(grep -lF -- "$words" "$work"/opened/* || true)
        if [ -n "$found" ]; then
            last_mail=$work/relay/Maildir/new/$(basename "$found")
            ! grep -qF -- "$words" "$last_mail" || fail "the relay host reads nothing of: $words"
            return 0
        fi
        sleep 0.5
    done
    cat "$work/gpg.log" >&2
    fail "an alert arrives: $words"
}

# Everything on the server that is not memory, a log, a spool or the relay's own state, by name, owner, mode, size and time.
fingerprints() {
    (cd "$root" && find etc usr var/ossec root/play -xdev \( -type f -o -type l \) ! -path 'etc/ld.so.cache' \
        -printf '%p %u %m %l %s %T@\n' 2>/dev/null || true) | sort
}

listens() { grep -qE "^ *[0-9]+: $1:0019 [0-9A-F:]+ 0A " "$root/proc/net/tcp"; }
on_1=0100007F on_2=0200007F

# A function, so that bash has read all of this file before it begins.
main() {
    make_monitor
    make_networks
    make_keys
    make_certificates 2>"$work/openssl.log" || fail "openssl: $(cat "$work/openssl.log")"
    trust_system_roots yes
    make_relay_host
    make_old_stack
    make_site_specific
    ok "a monitor server with a running Postfix, and a relay host with TLS"

    # shellcheck source=tests/support/converge/trials.sh
    . "$support/trials.sh"
    [ "$form" != long ] || trial_check_mode_on_a_bare_server
    trial_first_converge
    case $form in
        short) ;;
        long) long_trials ;;
        # For who works on one of them.
        *) for trial in $form; do "trial_$trial"; done ;;
    esac
    ok "all of it, in $SECONDS s"
}

main
