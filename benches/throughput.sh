#!/bin/bash
# How fast sealrelay takes alerts and passes them on, and what memory it needs:
#
#   benches/throughput.sh [--messages N] [--default-messages N] [--sessions N] [--size OCTETS] [--connections N] [--keep]
#
# Drives the release binary with Postfix's smtp-source (10 sessions, 2,000 messages of 2 KB) against a relay host that
# speaks TLS and takes everything (benches/sink.rs). Sealed to an RSA-4096 certificate, as the replaced stack's
# tutorials make them, and signed, as always. Each number can also be set in the environment: MESSAGES,
# DEFAULT_MESSAGES, SESSIONS, SIZE, CONNECTIONS.
#
# smtp-source says HELO, so the early-dot wait is zero in the first run; the second one, shorter, has the default.
# smtp-source does not tell how long an acknowledgement took, so benches/load.rs sends the same number again.
#
# Everything lives under target/bench: the certificates (made once), and the run's spool, which therefore is on the disk
# the clone is on; --keep keeps it. Ends with status 1 if anything was lost, came twice, or was not taken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

messages=${MESSAGES:-2000}
default_messages=${DEFAULT_MESSAGES:-200}
sessions=${SESSIONS:-10}
size=${SIZE:-2048}
script=benches/throughput.sh
numbers=(messages default_messages sessions size connections)
switches=(keep)

# shellcheck source=benches/setup.sh
. benches/setup.sh
read_options "$@"
make_run_folder

# --- what is measured -----------------------------------------------------------------------------------------------

# measure NAME EARLY_DOT_WAIT MESSAGES
measure() {
    local wanted=$3 idle begun accepted delivered used waits last
    start_relay_sink "$1" --sample "$run/$1.eml"
    start_daemon "$1" "$2"
    idle=$(memory VmRSS)
    used=$(processor "$pid")

    begun=$(now)
    source_to "$address" "$wanted"
    accepted=$(($(now) - begun))
    wait_for_delivery "$wanted"
    last=$(tail -n 1 "$report")
    delivered=$(($(of last "$last") - begun))
    used=$(awk -v from="$used" -v to="$(processor "$pid")" -v n="$wanted" 'BEGIN { printf "%.2f ms", (to - from) / n }')

    # The same again by the client that looks at the clock, into an empty queue as before.
    waits=$(load_to "$address" "$wanted" "$sessions" "$size")
    wanted=$((wanted * 2))
    wait_for_delivery "$wanted"
    # The last removal comes behind the sink's last 250.
    wait_for 10 queue_is_empty || true

    echo "early_dot_wait = \"$2\", $3 messages"
    line "accepted" "$(per_second "$3" $accepted)  (smtp-source, until all had their 250: $(seconds $accepted))"
    line "delivered" "$(per_second "$3" $delivered)  (until the relay host had received all: $(seconds $delivered))"
    line "acknowledgement" "p50 $(of p50 "$waits") ms, p99 $(of p99 "$waits") ms, longest $(of max "$waits") ms  (load client, $(of rate "$waits")/s)"
    line "processor" "$used a message, of the daemon"
    line "resident" "$idle idle, $(memory VmHWM) at peak"
    account "$wanted"
    stop_daemon
    stop "$sink_pid" || true
    open_sample "$run/$1.eml" "$folder/state/signer.asc"
    echo
}

# account WANTED: nothing was lost, nothing came twice, nothing needed a second attempt.
account() {
    local last
    last=$(tail -n 1 "$report")
    line "accounted for" "$1 handed in, $(count accepted) accepted, $(count sent) sent, $(count deferred) deferred, $(count queued) queued; received $(of received "$last"), of these $(of distinct "$last") distinct, $(of smallest "$last") to $(of largest "$last") octets, in $(of logins "$last") session(s)"
    if [ "$(of received "$last") $(of distinct "$last") $(count accepted) $(count sent) $(count deferred) $(count queued)" \
        != "$1 $1 $1 $1 0 0" ]; then
        status >&2
        die "The numbers above do not agree."
    fi
}

# What the clients and the sink can do without sealrelay between them: the numbers above must stay well below.
ceilings() {
    local begun taken waits
    echo "Ceilings, without sealrelay"
    start_sink clear --clear
    begun=$(now)
    source_to "127.0.0.1:$port" "$messages"
    taken=$(($(now) - begun))
    line "smtp-source" "$(per_second "$messages" $taken)  (into the sink in clear)"
    waits=$(load_to "127.0.0.1:$port" "$messages" "$sessions" "$size")
    line "load client" "$(of rate "$waits")/s, p50 $(of p50 "$waits") ms, p99 $(of p99 "$waits") ms  (into the sink in clear)"
    stop "$sink_pid" || true
    start_relay_sink tls
    # Sealed messages are of the 16 KiB class, and come over as many sessions.
    waits=$(load_to "127.0.0.1:$port" "$messages" "$connections" 16384 \
        --ca-file "$keys/ca.pem" --password-file "$keys/sasl_password")
    line "sink" "$(of rate "$waits")/s  (TLS 1.3, $connections sessions, 16 KiB, commands pipelined)"
    stop "$sink_pid" || true
}

load_before=$(cut -d ' ' -f 1 /proc/loadavg)
find_smtp_source
build
make_keys
echo "sealrelay bench: $sessions sessions, $size octets, $connections connections to the relay host, sealed to RSA-4096, signed"
echo "$(nproc) cores (load $load_before before), $(disk)"
echo
measure zero 0ms "$messages"
measure default 300ms "$default_messages"
ceilings
