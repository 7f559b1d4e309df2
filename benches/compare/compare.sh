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

# --- what is needed -------------------------------------------------------------------------------------------------

# Sets procmail, formail, mail and sendmail, and root, which is empty if Postfix is installed.
find_programs() {
    # shellcheck source=/dev/null
    [ ! -r target/peers/env ] || . target/peers/env
    root=${PEERS_DIR:+$PEERS_DIR/root}
    [ -x "$root/usr/lib/postfix/sbin/master" ] || root=''
    missing=()
    procmail=$(program procmail procmail)
    formail=$(program formail procmail)
    mail=$(program mail.mailutils mailutils)
    need "$procmail" procmail
    need "$formail" procmail
    need "$mail" mailutils
    sendmail=$root/usr/sbin/sendmail
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

need() { [ -n "$1" ] || missing+=("$2"); }

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

# --- end to end -----------------------------------------------------------------------------------------------------

# start_postfix NAME OPTION...: sets postfix_pid, postfix_address and postfix_folder. Relays to the sink at $port.
start_postfix() {
    local listen
    listen=$(free_port)
    postfix_address=127.0.0.1:$listen
    postfix_folder=$run/$1
    mkdir -p "$postfix_folder"
    mkfifo "$postfix_folder/input"
    benches/compare/postfix.sh "$postfix_folder" "$listen" "$port" "$keys/ca.pem" "$keys/sasl_password" \
        bench@example.org "$procmail" "${@:2}" <"$postfix_folder/input" >"$postfix_folder/out" 2>"$postfix_folder/err" &
    postfix_pid=$!
    started[$postfix_pid]=postfix
    # Closed when this script is gone, whatever way: then Postfix ends too.
    exec {postfix_input}>"$postfix_folder/input"
    wait_for 25 postfix_has_decided && grep -qx ready "$postfix_folder/out" || die "Postfix did not start: $(cat "$postfix_folder/err")"
}

postfix_has_decided() {
    grep -qx ready "$postfix_folder/out" || ! kill -0 "$postfix_pid" 2>/dev/null
}

stop_postfix() {
    exec {postfix_input}>&-
    wait "$postfix_pid" || die "Postfix did not run well: $(cat "$postfix_folder/err")"
    unset "started[$postfix_pid]"
    rm -rf "${postfix_folder:?}/queue"
}

# What the account needs of its own: gpg's keyring with one certificate, procmail's recipe, a log and a mailbox.
prepare_replaced() {
    local folder=$1
    mkdir -p "$folder/mail"
    mkdir -m 700 "$folder/keyring"
    cp "$keys/admin.asc" "$folder/admin.asc"
    gpg --homedir "$folder/keyring" --batch --quiet --import "$folder/admin.asc" 2>"$folder/gpg.log" ||
        die "gpg: $(cat "$folder/gpg.log")"
    gpgconf --homedir "$folder/keyring" --kill all 2>/dev/null || true
    chown -R "$user:" "$folder"/{keyring,mail}
    install -o "$user" -m 660 /dev/null "$folder/procmail.log"
    cat >"$folder/procmailrc" <<RECIPE
SHELL=/bin/sh
VERBOSE=yes
LOGFILE=$folder/procmail.log
MAILDIR=$folder/mail
DEFAULT=$folder/mail/unmatched
KEYRING=$folder/keyring
FINGERPRINT=$(fingerprint)
RECIPIENT=admin@example.org
FORMAIL=$formail
MAILER=$mail
SENDMAIL=$sendmail
MAIL_CONFIG=$folder/config
LIBRARIES=${root:+$PEERS_LIBRARIES}
SUBJECT=\`$formail -x Subject:\`

:0 B
* submissions_today\\.txt
| $PWD/benches/compare/encrypt.sh journalist

:0
* ^To:.*root.*
| $PWD/benches/compare/encrypt.sh ossec
RECIPE
}

# end_to_end NAME ADDRESS RECIPIENT MESSAGES: sets rate, until the sink's last 250, and accepted, until the source's.
end_to_end() {
    local begun last
    begun=$(now)
    smtp-source -s "$sessions" -m "$4" -l "$size" -f ids@example.org -t "$3" -M ids.example.org "$2" \
        2>"$run/smtp-source.log" || die "smtp-source: $(cat "$run/smtp-source.log")"
    accepted=$(calculate "$4 * 1000000 / ($(now) - $begun)")
    wait_for_arrivals "$4" || die "$1: only $(received) of $4 messages arrived. Its logs: $run (with --keep)."
    # A duplicate would come now.
    sleep 0.3
    last=$(tail -n 1 "$report")
    [ "$(of received "$last") $(of distinct "$last")" = "$4 $4" ] || die "$1: handed in $4, and there arrived: $last"
    rate=$(calculate "$4 * 1000000 / ($(of last "$last") - $begun)")
    smallest=$(of smallest "$last")
    logins=$(of logins "$last")
}

# measure_postfix NAME RECIPIENT MESSAGES OPTION...
measure_postfix() {
    start_relay_sink "$1" --sample "$run/$1.eml"
    start_postfix "$1" "${@:4}"
    end_to_end "$1" "$postfix_address" "$2" "$3"
    stop_postfix
    stop "$sink_pid" || true
}

measure_replaced() {
    prepare_replaced "$run/replaced-$1"
    measure_postfix "replaced-$1" root@localhost "$replaced_messages"
    [ -z "$(ls "$run/replaced-$1/mail")" ] || die "procmail did not know what to do: see replaced-$1/procmail.log"
    open_sample "$run/replaced-$1.eml"
}

# Who is on this machine may relay; nothing else differs.
may_relay="smtpd_recipient_restrictions=permit_mynetworks, reject_unauth_destination"

measure_bare() { measure_postfix "bare-$1" admin@example.org "$bare_messages" --set "$may_relay"; }

measure_reusing() {
    measure_postfix "reusing-$1" admin@example.org "$bare_messages" --set "$may_relay" --set smtp_tls_connection_reuse=yes
}

# measure_sealrelay NAME EARLY_DOT_WAIT MESSAGES: sets used and sink_used, milliseconds of processor time a message.
measure_sealrelay() {
    start_relay_sink "$1" --sample "$run/$1.eml"
    start_daemon "$1" "$2"
    used=$(processor "$pid")
    sink_used=$(processor "$sink_pid")
    end_to_end "$1" "$address" admin@example.org "$3"
    used=$(calculate "($(processor "$pid") - $used) / $3" %.2f)
    sink_used=$(calculate "($(processor "$sink_pid") - $sink_used) / $3" %.2f)
    wait_for 10 queue_is_empty || die "$1: $(count queued) messages are still queued."
    stop_daemon
    stop "$sink_pid" || true
    open_sample "$run/$1.eml" "$folder/state/signer.asc"
}

compare_rates() {
    local round
    local -a replaced=() bare=() reusing=() ours=() taken=() spent=()
    say "End to end, messages a second"
    for ((round = 1; round <= rounds; round++)); do
        measure_replaced $round; replaced+=("$rate")
        line "replaced" "$rate/s  (accepted $accepted/s; $replaced_messages messages, $logins TLS sessions)"
        measure_bare $round; bare+=("$rate")
        line "bare" "$rate/s  (accepted $accepted/s; $bare_messages messages, $logins TLS sessions)"
        measure_reusing $round; reusing+=("$rate")
        line "bare, reusing" "$rate/s  (accepted $accepted/s; $bare_messages messages, $logins TLS sessions)"
        measure_sealrelay "zero-$round" 0ms "$messages"; ours+=("$rate"); taken+=("$accepted"); spent+=("$used")
        line "sealrelay" "$rate/s  (accepted $accepted/s; $messages messages of $smallest octets, $logins TLS sessions; processor a message: daemon $used ms, sink $sink_used ms)"
    done
    measure_sealrelay default 300ms $((messages / 10 + 1))
    line "default" "$rate/s  (accepted $accepted/s; early_dot_wait = \"300ms\")"
    our_rate=$(median "${ours[@]}")
    our_accepted=$(median "${taken[@]}")
    our_processor=$(median "${spent[@]}")
    against replaced 40 "$(median "${replaced[@]}")" "the replaced stack"
    against bare 2 "$(median "${bare[@]}")" "bare Postfix that encrypts nothing"
    row "  the same, Postfix reusing TLS connections" "-" "$(ratio "$(median "${reusing[@]}")")"
    row "  early_dot_wait at its default, 300ms" "-" "$rate/s"
    say
}

ratio() { echo "$(calculate "$our_rate / $1") times ($our_rate : $1)"; }
against() { row "end to end, against $4" ">= $2 times" "$(ratio "$3")" "$our_rate >= $2 * $3"; }

# --- one daemon, watched --------------------------------------------------------------------------------------------

# one_alert SESSIONS: milliseconds from its end of data to the sink's 250, by the same clock. That many TLS sessions
# must have begun for it.
one_alert() {
    local before line
    before=$(tail -n 1 "$report")
    line=$(load_to "$address" 1 1 "$size")
    wait_for 10 has_received $(($(of received "$before") + 1)) || die "One alert did not arrive: $(tail -n 3 "$folder/log")"
    took=$(calculate "($(of last "$(tail -n 1 "$report")") - $(of handed "$line")) / 1000" %.2f)
    [ $(($(of logins "$(tail -n 1 "$report")") - $(of logins "$before"))) = "$1" ] ||
        die "One alert: not $1 new session(s) at the relay host, as it was meant to be."
}

idle_alerts() {
    local alert
    local -a new=() warm=()
    start_relay_sink idle
    start_daemon idle 0ms
    # The first one after the start is not what is asked for.
    one_alert 1
    for ((alert = 1; alert <= alerts; alert++)); do
        # An idle session is closed after 5 s.
        sleep 6.5
        one_alert 1; new+=("$took")
        sleep 0.5
        one_alert 0; warm+=("$took")
    done
    stop_daemon
    stop "$sink_pid" || true
    say "One alert, idle daemon: end of data to the relay host's 250, ms"
    line "new session" "${new[*]}"
    line "warm session" "${warm[*]}"
    say
    latency "one alert, idle daemon, new TLS session" 25 "${new[@]}"
    latency "one alert, idle daemon, warm TLS session" 10 "${warm[@]}"
}

# latency WHAT BOUND MILLISECONDS...
latency() {
    row "$1" "< $2 ms" "$(median "${@:3}") ms (longest $(largest "${@:3}"))" "$(median "${@:3}") < $2"
}

# acknowledgements NAME EARLY_DOT_WAIT MESSAGES: sets waits.
acknowledgements() {
    start_relay_sink "$1"
    start_daemon "$1" "$2"
    waits=$(load_to "$address" "$3" "$sessions" "$size")
    wait_for_delivery "$3"
    stop_daemon
    stop "$sink_pid" || true
    line "$2" "p50 $(of p50 "$waits") ms, p99 $(of p99 "$waits") ms, longest $(of max "$waits") ms, $(of rate "$waits")/s"
}

acknowledge() {
    say "Acknowledgement: end of data to our 250, $sessions sessions, by early_dot_wait"
    acknowledgements ack-zero 0ms "$messages"
    row "acknowledgement p99, $sessions sessions" "< 20 ms" "$(of p99 "$waits") ms (p50 $(of p50 "$waits"))" "$(of p99 "$waits") < 20"
    acknowledgements ack-default 300ms $((messages / 10 + 1))
    row "  early_dot_wait = 300ms, beyond the gap" "< 20 ms" \
        "$(calculate "$(of p99 "$waits") - 300") ms (p50 $(calculate "$(of p50 "$waits") - 300"))" "$(of p99 "$waits") < 320"
    say
}

memory_used() {
    start_relay_sink memory
    start_daemon memory 0ms
    local idle busy
    idle=$(mebibytes VmRSS)
    waits=$(load_to "$address" "$messages" 64 "$size")
    wait_for_delivery "$messages"
    busy=$(mebibytes VmHWM)
    stop_daemon
    stop "$sink_pid" || true
    row "resident memory, idle" "<= 15 MiB" "$idle MiB" "$idle <= 15"
    row "resident memory, 64 sessions busy (peak)" "<= 64 MiB" "$busy MiB" "$busy <= 64"
}

# --- a large queue --------------------------------------------------------------------------------------------------

large_queue() {
    local begun filled full afterwards first drained window=$((queued / 10))
    say "A queue of $queued"
    # A port nobody answers on, until the sink comes back to it.
    start_relay_sink large
    stop "$sink_pid" || true
    start_daemon large 0ms
    begun=$(now)
    source_to "$address" "$queued"
    filled=$(($(now) - begun))
    [ "$(count queued)" = "$queued" ] || die "Handed in $queued, and queued are $(count queued)."
    full=$(mebibytes VmRSS)
    line "filled" "$(per_second "$queued" $filled)  ($(seconds $filled), the relay host away; $(du -sm "$folder/spool" | cut -f 1) MiB on disk)"
    row "resident memory, $queued queued" "<= 96 MiB" "$full MiB" "$full <= 96"
    stop_daemon
    if [ "$cold" = yes ]; then sync && echo 3 >/proc/sys/vm/drop_caches; fi

    start_relay_sink large --port "$port"
    begun=$(now)
    run_daemon 120
    wait_for_arrivals 1 || die "Nothing was delivered: $(tail -n 3 "$folder/log")"
    # The counters come every 20 ms, so this may be that much too long.
    first=$(calculate "($(first_received) - $begun) / 1000000" %.2f)
    row "start with $queued queued until the first delivery" "< 2 s" "$first s$(cold_or_not)" "$first < 2"
    wait_for_arrivals "$queued" || die "Only $(received) of $queued were delivered."
    wait_for 10 queue_is_empty || die "$(count queued) messages are still queued."
    afterwards=$(mebibytes VmHWM)
    row "  peak from that start to the end of the draining" "<= 96 MiB" "$afterwards MiB" "$afterwards <= 96"
    [ "$(of distinct "$(tail -n 1 "$report")")" = "$queued" ] || die "Not all were distinct: $(tail -n 1 "$report")"
    drained=$(drain_rates $window)
    line "drained" "first $window at $(of first "$drained")/s, last $window at $(of last "$drained")/s, all at $(of all "$drained")/s"
    row "draining: the last $window against the first" ">= 0.9" \
        "$(of ratio "$drained") ($(of last "$drained") : $(of first "$drained"))" "$(of ratio "$drained") >= 0.9"
    stop_daemon
    stop "$sink_pid" || true
    say
}

cold_or_not() { [ "$cold" = no ] || echo ", cold"; }

first_received() { of last "$(grep -m 1 '^received=[1-9]' "$report")"; }

# drain_rates WINDOW: from the sink's counters, which carry the time of the message they end with.
drain_rates() {
    sed -n 's/^received=\([0-9]*\) .* last=\([0-9]*\)$/\1 \2/p' "$report" | awk -v window="$1" '
        $1 > 0 { lines++; count[lines] = $1; time[lines] = $2 }
        # When so many had been received; between two lines, evenly.
        function when(number,    at) {
            for (at = 1; count[at] < number; at++);
            if (at == 1 || count[at] == number) return time[at]
            return time[at - 1] + (time[at] - time[at - 1]) * (number - count[at - 1]) / (count[at] - count[at - 1])
        }
        END {
            total = count[lines]; from = count[1]
            first = window * 1e6 / (when(from + window) - when(from))
            last = window * 1e6 / (when(total) - when(total - window))
            all = (total - from) * 1e6 / (when(total) - when(from))
            printf "first=%.0f last=%.0f all=%.0f ratio=%.2f\n", first, last, all, last / first
        }'
}

# --- what the machine allows ----------------------------------------------------------------------------------------

# share RATE LIMIT
share() { calculate "100 * $1 / $2" "%.0f%%"; }

machine_limits() {
    local files keys_only whole relay source begun together entry=16896
    mkdir "$run/files"
    files=$(of rate "$("$limits" --threads "$sessions" files --folder "$run/files" --count 3000 --size $entry)")
    keys_only=$(of rate "$("$limits" --threads "$(nproc)" keys --certificate "$keys/admin.asc")")
    whole=$(of rate "$("$limits" --threads "$(nproc)" messages --certificate "$keys/admin.asc")")
    start_relay_sink limit
    relay=$(of rate "$(load_to "127.0.0.1:$port" "$messages" "$connections" 16384 \
        --ca-file "$keys/ca.pem" --password-file "$keys/sasl_password")")
    stop "$sink_pid" || true
    start_sink clear --clear
    begun=$(now)
    source_to "127.0.0.1:$port" "$messages"
    source=$(calculate "$messages * 1000000 / ($(now) - $begun)")
    stop "$sink_pid" || true
    # Each was measured with all cores at its disposal; in the whole chain they share them.
    together=$(calculate "1 / (1 / $source + 1 / $whole + 1 / $relay)")

    say "What this machine allows, and sealrelay's $our_accepted/s accepted, $our_rate/s end to end"
    limit "files" "$files" "$our_accepted" "create, write, sync files of $entry octets, $sessions threads"
    limit "key operations" "$keys_only" "$our_rate" "RSA-4096 encryption and Ed25519 signature, $(nproc) threads"
    limit "OpenPGP" "$whole" "$our_rate" "whole messages of 16 KiB signed, encrypted, armored, $(nproc) threads"
    limit "sink" "$relay" "$our_rate" "16 KiB messages over TLS 1.3 from a client that only sends, $connections sessions"
    limit "smtp-source" "$source" "$our_accepted" "$size octets into the sink in clear"
    limit "together" "$together" "$our_rate" "smtp-source, OpenPGP and sink one after the other on these cores, without any disk"
    line "cores" "$(calculate "$our_rate * $our_processor / 1000" %.2f) of $(nproc) busy with the daemon at that rate"
    say
}

# limit NAME RATE OURS WHAT
limit() { line "$1" "$(printf '%9s/s  %4s reached  %s' "$2" "$(share "$3" "$2")" "$4")"; }

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
