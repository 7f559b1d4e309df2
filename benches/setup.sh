# shellcheck shell=bash
# Sourced by throughput.sh and compare/compare.sh, from the top of the clone: the options, the folder and the keys of a
# run, the daemon and the sink in it, and how they are watched. The caller sets `script` (its own file), `numbers` and
# `switches` (names of variables that options set), and calls read_options and make_run_folder first.
#
# Ends with the script: every process it started, by its id, and the run's folder unless --keep is given.

# EPOCHREALTIME and awk must agree on the decimal point.
export LC_ALL=C

# Sessions of the daemon to the relay host.
connections=${CONNECTIONS:-4}
# Without progress for so many seconds a step is stuck.
patience=60

# --- options and the run's folder -----------------------------------------------------------------------------------

usage() {
    # The usage is the head of the script, so there is one text to keep right.
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$script"
}

# read_options ARGUMENT...: sets the variables named in `numbers` to numbers above zero, and those in `switches` to yes.
read_options() {
    local name
    for name in "${switches[@]}"; do printf -v "$name" no; done
    while [ $# -gt 0 ]; do
        name=${1#--}
        name=${name//-/_}
        if [ "$1" = --help ]; then
            usage
            exit 0
        elif [[ $1 = --* && " ${switches[*]} " = *" $name "* ]]; then
            printf -v "$name" yes
            shift
        elif [[ $1 = --* && " ${numbers[*]} " = *" $name "* && $# -gt 1 ]]; then
            printf -v "$name" '%s' "$2"
            shift 2
        else
            usage >&2
            exit 64
        fi
    done
    for name in "${numbers[@]}"; do
        if ! [[ ${!name} =~ ^[1-9][0-9]{0,8}$ ]]; then
            echo "$name wants a number above zero, not \"${!name}\"." >&2
            exit 64
        fi
    done
}

# What is to be ended with the script: only processes it started, and not their ids once others may have them.
declare -A started=()

# Sets work and keys, which stay, and run, which goes.
make_run_folder() {
    work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/bench
    keys=$work/keys
    mkdir -p "$work"
    run=$(mktemp -d "$work/run.XXXXXX")
    trap clean_up EXIT
    trap 'exit 1' TERM INT HUP
}

clean_up() {
    local pid
    for pid in "${!started[@]}"; do kill "$pid" 2>/dev/null || true; done
    # Each of them ends within its own bound.
    for pid in "${!started[@]}"; do wait "$pid" 2>/dev/null || true; done
    gpgconf --homedir "$run/gnupg" --kill all 2>/dev/null || true
    if [ "$keep" = yes ]; then echo "Kept: $run"; else rm -rf "$run"; fi
}

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

# Sets sealrelay, sink, load and limits to the release programs; the variable SEALRELAY names another sealrelay.
build() {
    local made
    # Cargo puts bench targets under names with a hash, and only its messages tell which are of this build.
    made=$(cargo build --release --locked --bin sealrelay --bench sink --bench load --bench limits \
        --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    sealrelay=${SEALRELAY:-$(grep '/sealrelay$' <<<"$made")}
    sink=$(grep '/sink-[0-9a-f]*$' <<<"$made")
    load=$(grep '/load-[0-9a-f]*$' <<<"$made")
    # shellcheck disable=SC2034 # for compare.sh
    limits=$(grep '/limits-[0-9a-f]*$' <<<"$made")
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

# start_relay_sink NAME ARGUMENT...: the relay host of every comparison: TLS 1.3, RSA-2048, a login.
start_relay_sink() {
    start_sink "$1" --certificate "$keys/server.pem" --key "$keys/server.key" --password-file "$keys/sasl_password" \
        "${@:2}"
}

# start_sink NAME ARGUMENT...: its counters go to $run/NAME.sink; sets port.
start_sink() {
    report=$run/$1.sink
    "$sink" --lifetime 2400 "${@:2}" >"$report" 2>"$run/$1.sink.log" &
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

# wait_for_arrivals MESSAGES: as long as there are more and more of them.
wait_for_arrivals() {
    local so_far=-1
    while ! wait_for 1 has_received "$1"; do
        if [ "$(received)" != "$so_far" ]; then
            so_far=$(received)
            local deadline=$((SECONDS + patience))
        fi
        [ $SECONDS -lt "$deadline" ] || return 1
    done
}

# start_daemon NAME EARLY_DOT_WAIT: sets pid, address and folder. Delivers to the sink at $port.
start_daemon() {
    configure "$1" "$2"
    run_daemon
}

configure() {
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
[heartbeat]
every = "off"
[state]
directory = "state"
[control]
socket = "control.sock"
CONFIGURATION
}

# run_daemon [SECONDS]: on what is in $folder; it may take so long until it answers.
run_daemon() {
    # A developer's RUST_BACKTRACE would make it collect one for errors that Sequoia makes and drops in every sealing.
    env -u RUST_BACKTRACE -u RUST_LIB_BACKTRACE "$sealrelay" --config "$folder/sealrelay.toml" run 2>"$folder/log" &
    pid=$!
    started[$pid]=sealrelay
    wait_for "${1:-10}" status_answers || die "sealrelay did not start: $(tail -n 5 "$folder/log")"
    address=$(status_value '"listening"' '127\.0\.0\.1:[0-9]*')
}

status() { "$sealrelay" --config "$folder/sealrelay.toml" status --json || true; }
# Without the socket there is nobody to ask, and `status` would look into the spool that is just being opened.
status_answers() { [ -S "$folder/control.sock" ] && status | grep -q '"running": *true'; }

# status_value KEY VALUE: the first match of the pattern VALUE behind KEY. The form is ours, and needs no parser.
status_value() { status | tr -d '\n' | grep -o "$1[^0-9]*$2" | head -n 1 | grep -o "$2\$"; }
count() { status_value "\"$1\"" '[0-9]*'; }

memory() { awk -v name="$1:" '$1 == name { printf "%.1f MiB", $2 / 1024 }' "/proc/$pid/status"; }

# processor PID: milliseconds of processor time it has used.
processor() {
    awk -v tick="$(getconf CLK_TCK)" '{ print ($14 + $15) * 1000 / tick }' "/proc/$1/stat"
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
    wait_for_arrivals "$1" ||
        die "Only $(received) of $1 messages were delivered. The log ends with: $(tail -n 3 "$folder/log")"
}

seconds() { awk -v us="$1" 'BEGIN { printf "%.2f s", us / 1000000 }'; }
queue_is_empty() { [ "$(count queued)" = 0 ]; }

stop_daemon() {
    stop "$pid" || die "sealrelay ended with status $?: $(tail -n 5 "$folder/log")"
}

# open_sample MESSAGE [SIGNER]: what was measured is what was meant, says gpg.
open_sample() {
    local said
    recipient_gpg --import "$keys/admin.secret" "${@:2}"
    tr -d '\r' <"$1" | sed -n '/^-----BEGIN PGP MESSAGE/,/^-----END PGP MESSAGE/p' >"$1.asc"
    said=$(recipient_gpg --status-fd 1 --output /dev/null --yes --decrypt "$1.asc")
    if ! { grep -q DECRYPTION_OKAY <<<"$said" && { [ $# = 1 ] || grep -q GOODSIG <<<"$said"; }; }; then
        die "gpg cannot open a message: $said"
    fi
    line "opened" "by gpg: decrypts ($(awk '$2 == "ENC_TO" { print "RSA, key " $3 }' <<<"$said"))${2:+, signature good}"
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

