#!/bin/bash
# The static program looks up names: tests/release/resolver.sh CHROOT, in a network namespace of its own. CHROOT holds
# the program, etc/hosts with by-hosts.test, and etc/resolv.conf with this machine. Status 1 when a name is not found, or
# one is that is not there.
set -euo pipefail
chroot=$1
ip link set lo up

# One name by DNS, by A and without AAAA; every other one is not there.
exec {ready}< <(exec python3 -u -c '
import socket, struct
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("ready")
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    kind = struct.unpack("!H", query[end - 4:end - 2])[0]
    known = query[12:end - 4].lower() == b"\6by-dns\4test\0"
    found = known and kind == 1
    head = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, int(found), 0, 0)
    answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + b"\x7f\0\0\1" if found else b""
    server.sendto(head + query[12:end] + answer, client)
')
server=$!
trap 'kill $server' EXIT
read -r -t 60 -u "$ready"

# looked_up NAME STATUS WORDS: what `check` says of a port where nobody listens.
looked_up() {
    local said status=0
    said=$(timeout 60 chroot "$chroot" /sealrelay check --host "$1" --port 1 2>&1 --pin "sha256:$(printf '00%.0s' {1..32})") || status=$?
    if [ $status != "$2" ] || [[ $said != *"$3"* ]]; then
        printf '%s: status %s\n%s\n' "$1" "$status" "$said" >&2
        exit 1
    fi
    echo "$1: $(grep '^NOT USABLE' <<<"$said")"
}
looked_up by-hosts.test 75 "127.0.0.1:1: Connection refused"
looked_up by-dns.test 75 "127.0.0.1:1: Connection refused"
looked_up not-there.test 68 "looking up its name"
