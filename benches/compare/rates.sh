# shellcheck shell=bash
# Sourced by compare.sh: the three ways of an alert to the relay host, fed and timed alike, and their ratios. A message
# that is lost, comes twice or cannot be opened ends the comparison.

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
    wait_for 30 queue_is_empty || die "$1: $(count queued) messages are still queued."
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
