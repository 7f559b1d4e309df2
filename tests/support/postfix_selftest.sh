#!/bin/bash
# Proves that tests/support/postfix.sh is the relay host the tests take it for. As root, after tests/support/peers.sh.
# Exit: 0, or 1 with the first promise that does not hold.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

work=$(mktemp -d)
# Closed to others, as test folders are: Postfix must manage all the same.
chmod 700 "$work"
pids=()

cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' TERM INT

fail() {
    echo "does not hold: $*" >&2
    tail -n 20 "$work"/*/maillog >&2 2>/dev/null || true
    exit 1
}

ok() { echo "ok  $*"; }

# With the extensions that strict readers (Python 3.13) demand.
make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=throw-away CA" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$work/ca.key" -out "$work/ca.pem"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$work/key.pem" -out "$work/request.pem"
    openssl x509 -req -in "$work/request.pem" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
        -extfile <(printf '%s\n' "subjectAltName=DNS:localhost,IP:127.0.0.1" "keyUsage=critical,digitalSignature" \
            "subjectKeyIdentifier=hash" "authorityKeyIdentifier=keyid") -out "$work/cert.pem"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start NAME PORT [OPTION]...: its standard input is a pipe of ours; sets pid and input.
start() {
    local name=$1 port=$2
    shift 2
    mkfifo "$work/$name.in"
    ./postfix.sh "$work/$name" "$port" "$work/cert.pem" "$work/key.pem" "$user" "$password" "$@" \
        <"$work/$name.in" >"$work/$name.out" 2>"$work/$name.err" &
    pid=$!
    pids+=("$pid")
    exec {input}>"$work/$name.in"
    for _ in {1..250}; do
        ! grep -qx ready "$work/$name.out" || return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/$name.err" >&2
    fail "$name says ready"
}

# stopped NAME PID: within 3 s, with exit status 0, and no process is left that has its configuration.
stopped() {
    local status=0
    for _ in {1..30}; do
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    ! kill -0 "$2" 2>/dev/null || fail "$1 stops within 3 s"
    wait "$2" || status=$?
    [ $status = 0 ] || fail "$1 exits with 0, not $status"
    nothing_left "$1"
}

nothing_left() {
    local processes
    # Killed processes need a moment to go.
    for _ in {1..30}; do
        processes=$(grep -laF "$work/$1" /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null || true)
        [ -n "$processes" ] || return 0
        sleep 0.1
    done
    fail "$1 leaves no process: $processes"
}

send() {
    local port=$1
    shift
    timeout 60 swaks --server 127.0.0.1 --port "$port" --ehlo test.example --from ids@example.org \
        --to admin@example.com "$@" >"$work/swaks.log" 2>&1
}

login=(--auth-user alerts@example.org --auth-password 'pass # "word"')
user=${login[1]} password=${login[3]}

# arrives NAME COUNT
arrives() {
    for _ in {1..100}; do
        [ "$(find "$work/$1/Maildir/new" -type f 2>/dev/null | wc -l)" != "$2" ] || return 0
        sleep 0.1
    done
    fail "$2 mails in the Maildir of $1"
}

make_certificate 2>"$work/openssl.log" || fail "openssl: $(cat "$work/openssl.log")"
openssl verify -CAfile "$work/ca.pem" "$work/cert.pem" >/dev/null || fail "our own certificate is good"

port=$(free_port) implicit=$(free_port)
start one "$port" --implicit "$implicit"
pid_one=$pid input_one=$input
ok "ready"

for mechanism in PLAIN LOGIN; do
    send "$port" --tls-verify --tls-ca-path "$work/ca.pem" --tls --auth $mechanism "${login[@]}" ||
        { cat "$work/swaks.log"; fail "$mechanism over STARTTLS"; }
done
send "$implicit" --tls-on-connect --auth PLAIN "${login[@]}" || fail "implicit TLS"
arrives one 3
ok "PLAIN and LOGIN over STARTTLS, PLAIN over implicit TLS: all three in the Maildir"

! send "$port" --tls || fail "no mail without login"
grep -q '<~\* 554' "$work/swaks.log" || fail "no mail without login, by 554"
! send "$port" --tls --auth PLAIN --auth-user "$user" --auth-password wrong || fail "no wrong password"
grep -q '<~\* 535' "$work/swaks.log" || fail "no wrong password, by 535"
! send "$port" || fail "no mail without TLS"
grep -q '<\*\* 530' "$work/swaks.log" || fail "no mail without TLS, by 530"
! send "$port" --auth PLAIN "${login[@]}" || fail "no login without TLS"
! grep -q 'AUTH' <(grep '^<-' "$work/swaks.log") || fail "no AUTH offered before TLS"
arrives one 3
ok "refused: without login, with a wrong password, without TLS"

# 40 MB, dots, octets over 127, blanks at line ends, no Date or Message-ID, a recipient with an extension.
cat >"$work/octets.py" <<'PYTHON'
import smtplib, ssl, sys, time
from pathlib import Path
port, ca, maildir, user, password = sys.argv[1:]
text = b".\r\n..\r\n.dot\r\nblank \t\r\n\xff\xfe\xe2\x82\xac\r\n\r\n" + b"x" * 900 + b"\r\n"
body = text + b"0123456789abcdef" * 60 + b"\r\n"
body *= 41_000_000 // len(body)
message = b"Subject: =?utf-8?q?gro=C3=9F?=\r\nX-Long: " + b"y" * 900 + b"\r\n\r\n" + body
relay = smtplib.SMTP("127.0.0.1", int(port), timeout=60)
relay.starttls(context=ssl.create_default_context(cafile=ca))
relay.login(user, password)
relay.sendmail("ids@example.org", ["Admin+x@Sub.Example.COM"], message)
relay.quit()
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    for found in Path(maildir).iterdir():
        if found.stat().st_size > 40_000_000:
            got = found.read_bytes()
            assert got.endswith(b"\n" + message.replace(b"\r\n", b"\n")), "changed on the way"
            sys.exit(0)
    time.sleep(0.1)
sys.exit("did not arrive")
PYTHON
python3 "$work/octets.py" "$port" "$work/ca.pem" "$work/one/Maildir/new" "$user" "$password" || fail "41 MB, octet for octet"
ok "41 MB with dots and 8-bit text: octet for octet"

# A second one at the same time, with options; the first does not get its mail.
port_two=$(free_port)
start two "$port_two" --size-limit 20000 --mechanisms SCRAM-SHA-256 --set smtpd_recipient_restrictions=reject
pid_two=$pid
grep -q 'mech_list: SCRAM-SHA-256$' "$work/two/config/sasl/smtpd.conf"
! send "$port_two" --tls --auth PLAIN "${login[@]}" || fail "only the mechanisms asked for"
grep -q '250-AUTH SCRAM-SHA-256$' "$work/swaks.log" || fail "SCRAM-SHA-256 is offered"
grep -q '250-SIZE 20000$' "$work/swaks.log" || fail "the size asked for"
kill -TERM "$pid_two"
stopped two "$pid_two"
ok "a second one beside it, with its own options; SIGTERM stops it"

send "$port" --tls --auth PLAIN "${login[@]}" || fail "the first still works"
arrives one 5
exec {input_one}>&-
stopped one "$pid_one"
ok "the first still works; end of input stops it"

mv "$work/one.in" "$work/one.in.old"
start one "$port"
arrives one 5
send "$port" --tls --auth LOGIN "${login[@]}" || fail "DIR is taken up again"
arrives one 6
ok "started again in the same DIR on the same port"

{ kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || true
nothing_left one
ok "kill -9 leaves no process either"

status=0
./postfix.sh "$work/three" "$port" "$work/cert.pem" "$work/ca.key" "$user" "$password" </dev/null >"$work/three.out" 2>&1 || status=$?
[ $status = 1 ] || fail "a key of another certificate is status 1"
grep -q 'disabling TLS' "$work/three.out" || fail "a key of another certificate is named"
nothing_left three
ok "with a wrong key it does not start, and says why"
