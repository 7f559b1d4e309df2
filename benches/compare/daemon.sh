# shellcheck shell=bash
# Sourced by compare.sh: what is measured of sealrelay alone, one alert, acknowledgements, memory, and a large queue.

# one_alert: sets took, milliseconds from its end of data to the sink's 250 by the same clock, and fresh, the number of
# TLS sessions that began for it.
one_alert() {
    local before after handed
    before=$(tail -n 1 "$report")
    handed=$(of handed "$(load_to "$address" 1 1 "$size")")
    wait_for 10 has_received $(($(of received "$before") + 1)) || die "One alert did not arrive: $(tail -n 3 "$folder/log")"
    after=$(tail -n 1 "$report")
    took=$(calculate "($(of last "$after") - $handed) / 1000" %.2f)
    fresh=$(($(of logins "$after") - $(of logins "$before")))
}

idle_alerts() {
    local alert pause
    local -a new=() warm=()
    start_relay_sink idle
    start_daemon idle 0ms
    # The first one after the start is not what is asked for.
    one_alert
    for ((alert = 1; alert <= alerts; alert++)); do
        # An idle session is closed after 5 s; what counts is whether it was.
        for pause in 6.5 0.5; do
            sleep $pause
            one_alert
            if [ $fresh = 0 ]; then warm+=("$took"); else new+=("$took"); fi
        done
    done
    stop_daemon
    stop "$sink_pid" || true
    say "One alert, idle daemon: end of data to the relay host's 250, ms"
    line "new session" "${new[*]}"
    line "warm session" "${warm[*]}"
    say
    [ ${#new[@]} != 0 ] && [ ${#warm[@]} != 0 ] || die "Not both kinds of sessions were seen."
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
    wait_for 30 queue_is_empty || die "$(count queued) messages are still queued."
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
