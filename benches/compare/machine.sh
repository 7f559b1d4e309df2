# shellcheck shell=bash
# Sourced by compare.sh: what the machine allows, measured in the same run, and how near sealrelay comes to it.

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
