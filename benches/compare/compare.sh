#!/bin/bash
# sealrelay beside what it replaces, in one run on one machine:
#
#   benches/compare/compare.sh [--rounds N] [--replaced-messages N] [--bare-messages N] [--messages N] [--sessions N]
#                              [--size OCTETS] [--connections N] [--alerts N] [--large] [--queued N] [--cold] [--keep]
#
#   replaced  Postfix > procmail > gpg > mail > sendmail > the same Postfix > relay host   (postfix.sh, encrypt.sh)
#   bare      Postfix > relay host; nothing is encrypted. Once with Postfix's defaults, once with connections reused
#   sealrelay the release program: sealed to the same RSA-4096 certificate, signed, padded, synced
#
# All are fed by Postfix's smtp-source (2 KB messages, 10 sessions, one session a message) and deliver to the same relay
# host, benches/sink.rs: verified TLS 1.3, an RSA-2048 certificate, a login, every message read whole. Rates are from
# before the first connection to the sink's last 250, the median of 3 rounds (--rounds). smtp-source says HELO, so
# sealrelay's early-dot wait is zero, and its default of 300 ms is reported beside it.
#
# Then: one alert on an idle daemon, acknowledgements, memory, and what the machine itself allows (limits.rs).
#   --large   also fills a queue of 100,000 (--queued) while the relay host is away, starts with it and drains it:
#             about 2 GB under target/bench and ten minutes
#   --cold    with --large: empties the system's file cache before that start, as after a reboot
#
# Needs root, Postfix, procmail, GNU mailutils and gpg: installed, or unpacked by tests/support/peers.sh. It installs
# nothing and makes no account; ports and folders are private. Everything lives under target/bench, which the account
# `games` must be able to reach, because procmail runs as it; --keep keeps it.
#
# Exit: 0 measured, whatever the numbers are; 1 something was lost or came twice; 64 wrong usage; 69 something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

script=benches/compare/compare.sh
rounds=${ROUNDS:-3}
replaced_messages=${REPLACED_MESSAGES:-200}
bare_messages=${BARE_MESSAGES:-2000}
messages=${MESSAGES:-5000}
sessions=${SESSIONS:-10}
size=${SIZE:-2048}
alerts=${ALERTS:-7}
queued=${QUEUED:-100000}
numbers=(rounds replaced_messages bare_messages messages sessions size connections alerts queued)
switches=(large cold keep)

# shellcheck source=benches/setup.sh
. benches/setup.sh
read_options "$@"

# The account local delivery runs as: see postfix.sh.
user=games

for part in rates daemon machine; do
    # shellcheck source=/dev/null
    . "benches/compare/$part.sh"
done

# --- what is needed -------------------------------------------------------------------------------------------------

# Sets procmail, formail, mail and sendmail, and root, which is empty if Postfix is installed.
find_programs() {
    # shellcheck source=/dev/null
    [ ! -r target/peers/env ] || . target/peers/env
    root=${PEERS_DIR:+$PEERS_DIR/root}
    [ -x "$root/usr/lib/postfix/sbin/master" ] || root=''
    missing=()
    procmail=$(program procmail)
    formail=$(program formail)
    mail=$(program mail.mailutils)
    sendmail=$root/usr/sbin/sendmail
    [ -n "$procmail" ] && [ -n "$formail" ] || missing+=(procmail)
    [ -n "$mail" ] || missing+=(mailutils)
    [ -x "$root/usr/lib/postfix/sbin/master" ] || missing+=(postfix)
    local name
    for name in smtp-source gpg openssl setpriv cargo; do
        command -v "$name" >/dev/null || missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] || unavailable "Missing: ${missing[*]}." "tests/support/peers.sh gets what is Debian's."
    [ "$(id -u)" = 0 ] || unavailable "Not root: Postfix runs only as root."
    id "$user" >/dev/null 2>&1 || unavailable "No account $user, which local delivery would run as."
}

# program NAME: the installed or the unpacked one, never the wrapper, which costs a shell for each message.
program() {
    local file
    for file in "/usr/bin/$1" "${PEERS_DIR-}/root/usr/bin/$1"; do
        [ ! -x "$file" ] || { echo "$file"; return; }
    done
}

unavailable() {
    printf '%s\n' "$@" >&2
    exit 69
}

demand_reachable() {
    chmod 711 "$run"
    local file
    for file in "$run" benches/compare/encrypt.sh "$procmail" "$mail"; do
        as_user test -x "$(realpath "$file")" ||
            unavailable "The account $user cannot reach $(realpath "$file")." \
                "Clone to a folder that is open to all accounts, and set CARGO_TARGET_DIR to such a one."
    done
}

as_user() { setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$@"; }

free_port() {
    local candidate
    for _ in {1..50}; do
        candidate=$((RANDOM % 12000 + 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null || { echo "$candidate"; return; }
    done
}

# --- numbers --------------------------------------------------------------------------------------------------------

calculate() { awk "BEGIN { printf \"${2:-%.1f}\", $1 }"; }
median() { printf '%s\n' "$@" | sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }
largest() { printf '%s\n' "$@" | sort -n | tail -n 1; }
mebibytes() { memory "$1" | cut -d ' ' -f 1; }

rows=()
# row WHAT AIM RESULT [CONDITION]: CONDITION is the aim as awk sees it.
row() {
    local verdict=-
    if [ $# = 4 ]; then
        verdict=$(awk "BEGIN { print ($4) ? \"met\" : \"MISSED\" }")
    fi
    rows+=("$(printf '%-58s  %-14s  %-26s  %s' "$1" "$2" "$3" "$verdict")")
}

say() { printf '%s\n' "$*"; }

# --- the run --------------------------------------------------------------------------------------------------------

version() { LD_LIBRARY_PATH=${root:+$PEERS_LIBRARIES} "$root/usr/sbin/postconf" -d -h mail_version 2>/dev/null || echo "?"; }

find_programs
load_before=$(cut -d ' ' -f 1 /proc/loadavg)
make_run_folder
demand_reachable
build
make_keys
say "Comparison: $sessions sessions, $size octets, $connections connections to the relay host, median of $rounds round(s)"
say "Postfix $(version), $(gpg --version | head -n 1), $("$procmail" -v 2>&1 | head -n 1 | cut -d ' ' -f 1,2)"
say "$(nproc) cores (load $load_before before), $(disk)"
say
compare_rates
idle_alerts
acknowledge
memory_used
if [ "$large" = yes ]; then large_queue; else row "a queue of $queued" "-" "not measured (--large)"; fi
machine_limits
say "Aims and results"
printf '%-58s  %-14s  %-26s  %s\n' "what" "aim" "result" "verdict"
printf '%s\n' "${rows[@]}"
