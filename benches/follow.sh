#!/bin/bash
# How fast a JSON log is followed, and what memory that needs:
#
#   benches/follow.sh [--lines N] [--one-in N] [--rate LINES] [--connections N] [--keep]
#
# The release binary reads a log of Wazuh's form (400,000 lines of 800 octets, 1 in 100 of which is sent): first all that
# lies there, then the same number as it is written, --rate lines a second (20,000). Each alert is sealed to an RSA-4096
# certificate, signed, stored, and delivered to a relay host that takes everything (benches/sink.rs). Everything lives
# under target/bench; --keep keeps it. Ends with status 1 if anything was not stored.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lines=${LINES_READ:-400000}
one_in=${ONE_IN:-100}
rate=${RATE:-20000}
script=benches/follow.sh
numbers=(lines one_in rate connections)
switches=(keep)

# shellcheck source=benches/setup.sh
. benches/setup.sh
read_options "$@"
make_run_folder

# write_log LINES RATE: to standard output; RATE lines a second by the clock, in twenty parts, or as fast as it goes for 0.
write_log() {
    awk -v lines="$1" -v rate="$2" -v one_in="$one_in" 'function uptime(words) {
        getline words <"/proc/uptime"
        close("/proc/uptime")
        return words + 0
    }
    BEGIN {
        for (i = 0; i < 420; i++) filler = filler "x"
        part = rate < 20 ? 1 : int(rate / 20)
        begun = uptime()
        for (i = 1; i <= lines; i++) {
            printf "{\"timestamp\":\"2026-11-20T19:30:02.%03d+0000\",\"rule\":{\"level\":%d,\"description\":\"sshd: Attempt to login using a non-existent user\",\"id\":\"5710\",\"firedtimes\":%d,\"mail\":%s,\"groups\":[\"syslog\",\"sshd\",\"invalid_login\"],\"pci_dss\":[\"10.2.4\",\"10.2.5\"]},\"agent\":{\"id\":\"001\",\"name\":\"app\",\"ip\":\"10.20.2.2\"},\"manager\":{\"name\":\"monitor\"},\"id\":\"1795203002.%d\",\"full_log\":\"Nov 20 19:30:02 app sshd[67231]: %s\",\"data\":{\"srcip\":\"192.0.2.7\"},\"location\":\"/var/log/auth.log\"}\n", i % 1000, i % one_in ? 3 : 10, i, i % one_in ? "false" : "true", i, filler
            if (rate && i % part == 0) {
                fflush()
                early = i / rate - (uptime() - begun)
                if (early > 0) system(sprintf("sleep %.3f", early))
            }
        }
    }'
}

is_stored() { [ "$(count followed)" -ge "$1" ]; }

# measure NAME RATE: of what lies there (0), or of what is written at that rate.
measure() {
    local wanted=$((lines / one_in)) begun behind used
    start_relay_sink "$1"
    configure "$1" 0ms
    printf '[[follow]]\npath = "alerts.json"\nfrom = "start"\n' >>"$folder/sealrelay.toml"
    : >"$folder/alerts.json"
    [ "$2" != 0 ] || write_log "$lines" 0 >"$folder/alerts.json"
    begun=$(now)
    run_daemon
    if [ "$2" != 0 ]; then
        begun=$(now)
        write_log "$lines" "$2" >>"$folder/alerts.json"
        echo "$lines lines written in $(seconds $(($(now) - begun))), $(per_second "$lines" $(($(now) - begun)))"
        behind=$(count behind_octets)
        begun=$(now)
    fi
    wait_for 300 is_stored "$wanted" || die "Only $(count followed) of $wanted alerts were stored."
    used=$(($(now) - begun))
    if [ "$2" != 0 ]; then
        line "behind" "$behind octets when the last line was written; all was stored $(seconds $used) later"
    else
        echo "$lines lines that lie there, $wanted of them sent"
        line "read and stored" "$(per_second "$lines" $used)  ($(seconds $used))"
    fi
    line "memory" "$(memory VmHWM) at most"
    line "processor" "$(awk -v ms="$(processor "$pid")" 'BEGIN { printf "%.1f s", ms / 1000 }') so far"
    wait_for_delivery "$wanted"
    stop_daemon
    stop "$sink_pid" || true
}

build
make_keys
measure lies 0
measure live "$rate"
