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
# EPOCHREALTIME and awk must agree on the decimal point.
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."

messages=${MESSAGES:-2000}
default_messages=${DEFAULT_MESSAGES:-200}
sessions=${SESSIONS:-10}
size=${SIZE:-2048}
connections=${CONNECTIONS:-4}
keep=no

# A run that takes longer is stuck: it ends with what was reached.
patience=300

usage() {
    # The usage is the head of this file, so there is one text to keep right.
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' benches/throughput.sh
}

while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --keep) keep=yes; shift; continue ;;
        --messages | --default-messages | --sessions | --size | --connections) ;;
        *) usage >&2; exit 64 ;;
    esac
    name=${1#--}
    printf -v "${name//-/_}" '%s' "${2:-}"
    shift $(($# > 1 ? 2 : 1))
done
for name in messages default_messages sessions size connections; do
    if ! [[ ${!name} =~ ^[1-9][0-9]{0,8}$ ]]; then
        echo "$name wants a number above zero, not \"${!name}\"." >&2
        exit 64
    fi
done

work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/bench
keys=$work/keys
mkdir -p "$work"
# What is to be ended with the script: only processes it started, and not their ids once others may have them.
declare -A started=()
run=$(mktemp -d "$work/run.XXXXXX")

clean_up() {
    local pid
    for pid in "${!started[@]}"; do kill "$pid" 2>/dev/null || true; done
    gpgconf --homedir "$run/gnupg" --kill all 2>/dev/null || true
    if [ $keep = yes ]; then echo "Kept: $run"; else rm -rf "$run"; fi
}
trap clean_up EXIT

die() {
    echo "$*" >&2
    exit 1
}

# --- what is needed -------------------------------------------------------------------------------------------------

# Postfix must not be installed for this: it would take the place of the machine's mail server.
find_smtp_source() {
    command -v smtp-source >/dev/null && return
    [ -r target/peers/env ] || tests/support/peers.sh
    # shellcheck source=/dev/null
    . target/peers/env
    command -v smtp-source >/dev/null || die "No smtp-source: see tests/support/peers.sh."
}

# Sets sealrelay, sink and load to the release programs.
build() {
    local made
    # Cargo puts bench targets under names with a hash, and only its messages tell which are of this build.
    made=$(cargo build --release --locked --bin sealrelay --bench sink --bench load \
        --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    sealrelay=$(grep '/sealrelay$' <<<"$made")
    sink=$(grep '/sink-[0-9a-f]*$' <<<"$made")
    load=$(grep '/load-[0-9a-f]*$' <<<"$made")
}

# A CA, a server certificate of it, a login, and the recipient's certificate and key. Throw-away, and made only once
# because RSA-4096 takes its time.
make_keys() {
    [ ! -e "$keys/complete" ] || return 0
    rm -rf "$keys"
    mkdir -m 700 "$keys"
    # An own configuration, because the system's may add extensions of its own. Without basicConstraints rustls does
    # not take a certificate for a CA.
    cat >"$keys/openssl.cnf" <<'CONFIGURATION'
[req]
distinguished_name = name
prompt = no
[name]
CN = sealrelay bench
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
basicConstraints = CA:FALSE
subjectAltName = DNS:localhost
extendedKeyUsage = serverAuth
CONFIGURATION
    (
        cd "$keys"
        openssl req -config openssl.cnf -x509 -extensions ca -newkey rsa:2048 -noenc -days 3650 \
            -keyout ca.key -out ca.pem 2>openssl.log || { cat openssl.log >&2; exit 1; }
        openssl req -config openssl.cnf -x509 -extensions server -newkey rsa:2048 -noenc -days 3650 \
            -CA ca.pem -CAkey ca.key -keyout server.key -out server.pem 2>openssl.log || { cat openssl.log >&2; exit 1; }
        (umask 077 && echo "bench only, thrown away" >sasl_password)
    )
    # Made in the run's folder: whose agent is ended when the script ends.
    recipient_gpg --gen-key <<'PARAMETERS'
%no-protection
Key-Type: RSA
Key-Length: 4096
Key-Usage: sign
Subkey-Type: RSA
Subkey-Length: 4096
Subkey-Usage: encrypt
Name-Real: Bench
Name-Email: admin@example.org
Expire-Date: 10y
PARAMETERS
    recipient_gpg --armor --export admin@example.org >"$keys/admin.asc"
    recipient_gpg --export-secret-keys admin@example.org >"$keys/admin.secret"
    touch "$keys/complete"
}

# gpg as the recipient, who is nobody else on this machine.
recipient_gpg() {
    (umask 077 && mkdir -p "$run/gnupg")
    gpg --homedir "$run/gnupg" --batch --quiet --no-tty "$@" 2>>"$run/gpg.log" || {
        cat "$run/gpg.log" >&2
        return 1
    }
}

fingerprint() {
    recipient_gpg --with-colons --show-keys "$keys/admin.asc" | awk -F: '$1 == "fpr" { print $10; exit }'
}

# --- programs under way ---------------------------------------------------------------------------------------------

now() { echo "${EPOCHREALTIME/./}"; }

# wait_for SECONDS COMMAND...: asks 20 times a second until it succeeds.
wait_for() {
    local tries=$(($1 * 20))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.05
    done
}

# start_sink NAME ARGUMENT...: its counters go to $run/NAME.sink; sets port.
start_sink() {
    report=$run/$1.sink
    "$sink" --lifetime $((patience * 4)) "${@:2}" >"$report" 2>"$run/$1.sink.log" &
    sink_pid=$!
    started[$sink_pid]=sink
    wait_for 10 grep -qs '^received=' "$report" || die "The sink did not start: $(cat "$run/$1.sink.log")"
    port=$(sed -n 's/^listening=//p' "$report")
}

# stop PID: its exit status.
stop() {
    local status=0
    kill -TERM "$1"
    wait "$1" || status=$?
    unset "started[$1]"
    return $status
}

# of NAME LINE: the value in "NAME=value".
of() {
    local word
    for word in $2; do
        [ "${word%%=*}" != "$1" ] || echo "${word#*=}"
    done
}

received() { of received "$(tail -n 1 "$report")"; }
has_received() { [ "$(received)" -ge "$1" ]; }

# start_daemon NAME EARLY_DOT_WAIT: sets pid, address and folder. Delivers to the sink at $port.
start_daemon() {
    folder=$run/$1
    mkdir "$folder"
    cp "$keys"/{admin.asc,ca.pem,sasl_password} "$folder"
    cat >"$folder/sealrelay.toml" <<CONFIGURATION
[listen]
addresses = ["127.0.0.1:0"]
early_dot_wait = "$2"
[[recipient]]
address = "admin@example.org"
certificate = "admin.asc"
fingerprint = "$(fingerprint)"
[[relay]]
host = "localhost"
port = $port
username = "bench@example.org"
password_file = "sasl_password"
ca_file = "ca.pem"
connections = $connections
[spool]
directory = "spool"
[state]
directory = "state"
[control]
socket = "control.sock"
CONFIGURATION
    # A developer's RUST_BACKTRACE would make it collect one for errors that Sequoia makes and drops in every sealing.
    env -u RUST_BACKTRACE -u RUST_LIB_BACKTRACE "$sealrelay" --config "$folder/sealrelay.toml" run 2>"$folder/log" &
    pid=$!
    started[$pid]=sealrelay
    wait_for 10 status_answers || die "sealrelay did not start: $(tail -n 5 "$folder/log")"
    address=$(status_value '"listening"' '127\.0\.0\.1:[0-9]*')
}

status() { "$sealrelay" --config "$folder/sealrelay.toml" status --json || true; }
# Without the socket there is nobody to ask, and `status` would look into the spool that is just being opened.
status_answers() { [ -S "$folder/control.sock" ] && status | grep -q '"running": *true'; }

# status_value KEY VALUE: the first match of the pattern VALUE behind KEY. The form is ours, and needs no parser.
status_value() { status | tr -d '\n' | grep -o "$1[^0-9]*$2" | head -n 1 | grep -o "$2\$"; }
count() { status_value "\"$1\"" '[0-9]*'; }

memory() { awk -v name="$1:" '$1 == name { printf "%.1f MiB", $2 / 1024 }' "/proc/$pid/status"; }

# Milliseconds of processor time the daemon has used.
processor() {
    awk -v tick="$(getconf CLK_TCK)" '{ print ($14 + $15) * 1000 / tick }' "/proc/$pid/stat"
}

per_second() { awk -v n="$1" -v us="$2" 'BEGIN { printf "%.0f/s", n * 1000000 / us }'; }

# --- what is measured -----------------------------------------------------------------------------------------------

line() { printf '  %-16s %s\n' "$1" "$2"; }

source_to() {
    smtp-source -s "$sessions" -m "$2" -l "$size" -f ids@example.org -t admin@example.org -M ids.example.org "$1" \
        2>"$run/smtp-source.log" || die "smtp-source: $(cat "$run/smtp-source.log")"
}

# load_to ADDRESS MESSAGES SESSIONS SIZE ARGUMENT...
load_to() { "$load" --to "$1" --messages "$2" --sessions "$3" --size "$4" "${@:5}"; }

wait_for_delivery() {
    wait_for $patience has_received "$1" ||
        die "Only $(received) of $1 messages were delivered. The log ends with: $(tail -n 3 "$folder/log")"
}

# measure NAME EARLY_DOT_WAIT MESSAGES
measure() {
    local wanted=$3 idle begun accepted delivered used waits last
    start_sink "$1" --certificate "$keys/server.pem" --key "$keys/server.key" --password-file "$keys/sasl_password" \
        --sample "$run/$1.eml"
    start_daemon "$1" "$2"
    idle=$(memory VmRSS)
    used=$(processor)

    begun=$(now)
    source_to "$address" "$wanted"
    accepted=$(($(now) - begun))
    wait_for_delivery "$wanted"
    last=$(tail -n 1 "$report")
    delivered=$(($(of last "$last") - begun))
    used=$(awk -v from="$used" -v to="$(processor)" -v n="$wanted" 'BEGIN { printf "%.2f ms", (to - from) / n }')

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

seconds() { awk -v us="$1" 'BEGIN { printf "%.2f s", us / 1000000 }'; }
queue_is_empty() { [ "$(count queued)" = 0 ]; }

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

stop_daemon() {
    stop "$pid" || die "sealrelay ended with status $?: $(tail -n 5 "$folder/log")"
}

# open_sample MESSAGE SIGNER: what was measured is what was meant, says gpg.
open_sample() {
    local said
    recipient_gpg --import "$keys/admin.secret" "$2"
    tr -d '\r' <"$1" | sed -n '/^-----BEGIN PGP MESSAGE/,/^-----END PGP MESSAGE/p' >"$1.asc"
    said=$(recipient_gpg --status-fd 1 --output /dev/null --yes --decrypt "$1.asc")
    if ! { grep -q DECRYPTION_OKAY <<<"$said" && grep -q GOODSIG <<<"$said"; }; then
        die "gpg cannot open a message: $said"
    fi
    line "opened" "by gpg: decrypts ($(awk '$2 == "ENC_TO" { print "RSA, key " $3 }' <<<"$said")), signature good"
}

# What the disk allows: each message is two fsyncs, shared by those that wait at the same time.
disk() {
    local begun taken
    begun=$(now)
    dd if=/dev/zero of="$run/fsync" bs=16k count=100 oflag=dsync status=none
    taken=$(($(now) - begun))
    rm "$run/fsync"
    echo "$(stat -f -c %T "$run"), $(awk -v us=$taken 'BEGIN { printf "%.2f", us / 100000 }') ms for a synced write of 16 KiB"
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
    start_sink tls --certificate "$keys/server.pem" --key "$keys/server.key" --password-file "$keys/sasl_password"
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
