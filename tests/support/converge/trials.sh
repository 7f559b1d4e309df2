# shellcheck shell=bash
# Sourced by inside.sh: what must hold, as one function for each trial, in the order of long_trials.

trial_first_converge() {
    converges
    says "gets one of two fixed texts about submissions"
    listens $on_1 || fail "Postfix still has 127.0.0.1:25"
    listens $on_2 || fail "the relay has 127.0.0.2:25"
    grep -q '<smtp_server>127.0.0.2</smtp_server>' "$root/var/ossec/etc/ossec.conf" || fail "the IDS points at 127.0.0.2"
    [ "$(diff <(sed 's/127.0.0.2/127.0.0.1/' "$root/var/ossec/etc/ossec.conf") "$root"/var/ossec/etc/ossec.conf.*~ | wc -l)" = 0 ] ||
        fail "only that value changed, and there is a backup"
    grep -q 'log = ": 0", text = "There has been no submission activity' "$root/etc/sealrelay/sealrelay.toml" || fail "the journalist gets a fixed text"
    [ "$(in_monitor stat -c '%U %a' /etc/sealrelay/sasl_password)" = "sealrelay 400" ] ||
        fail "the password is the service's alone"
    ! grep -qF 'pass # "word"' "$work/play.log" "$root/etc/sealrelay/sealrelay.toml" || fail "no password in log or configuration"
    arrives "first converge"
    ok "first converge beside Postfix, system roots: the alert arrives sealed"
}

# Before anything is there: the first of the long form.
trial_check_mode_on_a_bare_server() {
    local before
    before=$(fingerprints)
    play --check --diff || fail "--check --diff goes through on a bare server"
    says '+host = "smtp.example.org"'
    [ "$before" = "$(fingerprints)" ] || fail "check mode changes nothing: $(diff <(echo "$before") <(fingerprints))"
    ok "--check --diff on a bare server: goes through, changes nothing"
}

long_trials() {
    trial_second_converge
    trial_check_mode_is_clean
    trial_rollback_of_a_wrong_fingerprint
    trial_ca_override
    trial_sha1_fingerprint_wins_over_the_override
    trial_sha256_fingerprint
    trial_implicit_tls
    trial_login_and_sender
    trial_refusals_before_anything_is_touched
    trial_removal
    trial_everything_else
    trial_firewall
    trial_rollback_after_the_start
    trial_retire_and_move
    trial_back_again
    [ -z "$deb" ] || trial_sendmail_package
}

# The variables of an optional trust tier are not in site-specific: the trials give them.
trial_second_converge() {
    local before
    before=$(fingerprints)
    converges
    changed 0
    [ "$before" = "$(fingerprints)" ] || fail "the second converge touches no file: $(diff <(echo "$before") <(fingerprints))"
    ok "second converge: changed=0, no file touched"
}

trial_check_mode_is_clean() {
    local before pid
    before=$(fingerprints) pid=$(cat "$root/run/standin/sealrelay.service.pid")
    play --check --diff || fail "--check --diff goes through"
    changed 0
    play --check --diff -e '{"smtp_relay_port": 465, "sealrelay_firewall": true, "sealrelay_spool_lifetime": "7d"}' || fail "--check --diff goes through with changes"
    says '+port = 465'
    ! grep -qF 'pass # ' "$work/play.log" || fail "a diff shows no password"
    [ "$before" = "$(fingerprints)" ] || fail "check mode changes nothing: $(diff <(echo "$before") <(fingerprints))"
    [ "$pid" = "$(cat "$root/run/standin/sealrelay.service.pid")" ] || fail "check mode restarts nothing"
    ok "--check --diff: shows what would change, changes nothing"
}

# What is in force must be what was: octet for octet, by the same process.
trial_rollback_of_a_wrong_fingerprint() {
    local before pid
    before=$(fingerprints) pid=$(cat "$root/run/standin/sealrelay.service.pid")
    refuses '{"smtp_relay_fingerprint": "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33"}'
    says "The relay host takes it from here, as the service's user: no."
    says "The old configuration is in place, and the relay runs on with it."
    refuses '{"smtp_relay_cert_override_file": "Wrong.crt"}'
    refuses '{"sasl_password": "another word"}'
    says "535"
    [ "$before" = "$(fingerprints)" ] || fail "after a no everything is as it was: $(diff <(echo "$before") <(fingerprints))"
    [ "$pid" = "$(cat "$root/run/standin/sealrelay.service.pid")" ] || fail "after a no the same process runs"
    arrives "after three refusals"
    ok "wrong fingerprint, wrong authority, wrong password: check says no, all is as it was, alerts flow"
}

trial_ca_override() {
    trust_system_roots no
    refuses '{"sealrelay_check": "always"}'
    says "Verify return code: 20"
    converges '{"smtp_relay_cert_override_file": "MyOrg.crt"}'
    grep -qx 'ca_file = "certs/MyOrg.crt"' "$root/etc/sealrelay/sealrelay.toml" || fail "ca_file is set"
    arrives "certificate override"
    ok "tier certificate override, with an authority that the system does not trust"
}

trial_sha1_fingerprint_wins_over_the_override() {
    converges "{\"smtp_relay_cert_override_file\": \"Wrong.crt\", \"smtp_relay_fingerprint\": \"$sha1\"}"
    says "WARNING: smtp_relay_fingerprint is a SHA-1 fingerprint"
    grep -qxF "pins = [\"sha1:$sha1\"]" "$root/etc/sealrelay/sealrelay.toml" || fail "the pin is set"
    ! grep -q ca_file "$root/etc/sealrelay/sealrelay.toml" || fail "the fingerprint wins"
    [ -z "$(ls "$root/etc/sealrelay/certs")" ] || fail "the override's file is gone"
    arrives "fingerprint by SHA-1"
    ok "tier fingerprint, SHA-1 as in the guide: with a warning, and wins over the override"
}

trial_sha256_fingerprint() {
    converges "{\"smtp_relay_fingerprint\": \"$sha256\"}"
    grep -qxF "pins = [\"sha256:$sha256\"]" "$root/etc/sealrelay/sealrelay.toml" || fail "the pin is set"
    arrives "fingerprint by SHA-256"
    # Removed from site-specific: back to the system's roots, which do not have it.
    refuses '{}'
    trust_system_roots yes
    converges '{}'
    ! grep -qE '^(pins|ca_file)' "$root/etc/sealrelay/sealrelay.toml" || fail "without the variable, the system's roots"
    arrives "back to the system's roots"
    ok "tier fingerprint, SHA-256; removed again, the system's roots count"
}

trial_implicit_tls() {
    # The fingerprint as gpg prints it.
    converges '{"smtp_relay_port": "465", "ossec_gpg_fpr": "'"$(sed 's/..../& /g' <<<"${fingerprint,,}")"'"}'
    arrives "by port 465"
    grep -qx 'port = 465' "$root/etc/sealrelay/sealrelay.toml" || fail "the port is set"
    ok "smtp_relay_port 465: implicit TLS; a fingerprint in groups and lower case"
}

trial_login_and_sender() {
    # A login that has its domain in it.
    converges '{"sasl_username": "ossec@example.org", "sasl_domain": "", "ossec_from_address": "monitor@example.net"}'
    arrives "another sender"
    grep -q '^From: .*monitor@example.net' "$last_mail" || fail "From is ossec_from_address"
    grep -q '^Return-Path: <monitor@example.net>' "$last_mail" || fail "MAIL FROM is ossec_from_address"
    # One that has none: the relay host knows no such login.
    refuses '{"sasl_domain": ""}'
    says "WARNING: alerts come from ossec@mon"
    says "535"
    converges '{}'
    arrives "the usual sender"
    grep -q '^From: .*ossec@example.org' "$last_mail" || fail "From is sasl_username@sasl_domain"
    ok "ossec_from_address, else sasl_username@sasl_domain, else ossec@monitor_hostname; empty sasl_domain"
}

trial_refusals_before_anything_is_touched() {
    local before
    before=$(fingerprints)
    refuses '{"journalist_alert_email": ""}'
    refuses '{"journalist_gpg_fpr": "1234"}'
    refuses '{"journalist_alert_gpg_public_key": "missing.pub"}'
    refuses '{"ossec_gpg_fpr": "65A1B5FF195B56353CC63DFFCC40EF1228271441"}'
    refuses '{"ossec_gpg_fpr": "'"$other"'"}'
    refuses '{"ossec_alert_email": "nobody"}'
    refuses '{"ossec_alert_gpg_public_key": "missing.pub"}'
    refuses '{"smtp_relay_port": "submission"}'
    refuses '{"sasl_username": "ossec@example.org"}'
    refuses '{"sasl_password": "password123"}'
    ! grep -q 'password123' "$work/play.log" || fail "a refused password is not shown"
    refuses '{"smtp_relay_fingerprint": "AB:CD"}'
    refuses '{"sealrelay_spool_lifetime": "soon"}'
    says "spool.lifetime"
    refuses '{"sealrelay_move_to_localhost": true}'
    says "another mail server has"
    [ "$before" = "$(fingerprints)" ] || fail "a refusal touches nothing: $(diff <(echo "$before") <(fingerprints))"
    ok "what the guide's prompts refuse is refused, and nothing was touched"
}

trial_removal() {
    local names='{"smtp_relay_cert_override_file": "MyOrg.crt", "sealrelay_check": "never", "sealrelay_send_test": "never",
        "sealrelay_relay_options": {"client_certificate": "client.pem", "client_key": "client.key"},
        "sealrelay_more_recipients": [{"address": "other@example.org", "certificate": "journalist.pub", "fingerprint": "'"$other"'"}],
        "sealrelay_more_relays": [{"host": "second.example.org", "username": "a@example.org", "proxy": "socks5://127.0.0.1:9050",
            "proxy_username": "p", "proxy_password": "proxy secret", "oauth": {"token_url": "https://token.example.org/t",
            "client_id": "id", "client_secret": "client secret", "refresh_token": "refresh secret"}}]}'
    cp "$work/tls/server.pem" "$root/root/play/client.pem"
    cp "$work/tls/server.key" "$root/root/play/client.key"
    converges "$names"
    in_monitor sh -c 'cd /etc/sealrelay && ls certs/MyOrg.crt certs/client.pem client_key keys/journalist.pub proxy_password_2 client_secret_2 refresh_token_2' \
        >/dev/null || fail "what is named is there"
    ! grep -qE 'proxy secret|client secret|refresh secret' "$work/play.log" || fail "no secret is shown"
    echo 'mine' >"$root/etc/sealrelay/notes-of-the-operator"
    converges '{}'
    [ "$(cd "$root/etc/sealrelay" && find . -type f | sort | xargs)" = "./keys/journalist.pub ./keys/ossec.pub ./notes-of-the-operator ./sasl_password ./sealrelay.toml" ] ||
        fail "what is no longer named is gone: $(find "$root/etc/sealrelay")"
    rm "$root/etc/sealrelay/notes-of-the-operator"
    converges '{}'
    changed 0
    ok "certificate, client certificate, proxy login, token secrets, a recipient: there, and gone when their variables are"
}

# Every plain key once, with a value that is not its default.
trial_everything_else() {
    local all='{"sealrelay_ipv6": true, "sealrelay_listen_networks": ["127.0.0.0/8"], "sealrelay_listen_allow_users": ["root"], "sealrelay_listen_sessions": 32,
        "sealrelay_listen_message_size": "8MiB", "sealrelay_listen_memory": "64MiB", "sealrelay_listen_command_timeout": "4m",
        "sealrelay_listen_message_timeout": "9m", "sealrelay_listen_early_dot_wait": "100ms", "sealrelay_listen_socket": "",
        "sealrelay_sender_address": "relay@example.org", "sealrelay_sender_envelope": "bounces@example.org",
        "sealrelay_sender_subject": "an alert", "sealrelay_spool_directory": "/srv/sealrelay/spool", "sealrelay_spool_lifetime": "7d",
        "sealrelay_spool_quota": ["1GiB", "50%"], "sealrelay_spool_reserve": ["8MiB"], "sealrelay_state_directory": "/srv/sealrelay/state",
        "sealrelay_heartbeat_every": "12h", "sealrelay_control_socket": "/run/sealrelay/other.sock", "sealrelay_log_level": "debug",
        "sealrelay_alarm_ping_url": "https://ping.example.org/secret", "sealrelay_alarm_ping_every": "3m", "sealrelay_alarm_ping_oldest": "20m",
        "sealrelay_alarm_webhook_url": "https://hook.example.org/secret", "sealrelay_alarm_syslog": "192.0.2.1:514", "sealrelay_alarm_settle": "3m",
        "sealrelay_alarm_name": "monitor", "sealrelay_alarm_proxy": "socks5://127.0.0.1:9050", "sealrelay_alarm_proxy_username": "p",
        "sealrelay_alarm_proxy_password": "a secret", "sealrelay_alerts_rules": ["/var/ossec/rules"],
        "sealrelay_follow": [{"path": "/var/ossec/logs/alerts/alerts.json", "from": "start", "email_level": 8, "alert_by_email": [31100],
            "no_email_alert": [1002], "secondary": true}],
        "sealrelay_more_recipients": [{"address": "alice@example.org", "certificate": "journalist.pub", "fingerprint": "'"$other"'",
            "accept": [{"level": 10, "location": "server1|server2"}, {"rule": [502, 516]}], "split": true,
            "release": {"slots": "30m", "size": "64KiB", "urgent_level": 14}}],
        "sealrelay_log_output": "json", "sealrelay_metrics_textfile": "/srv/sealrelay/state/metrics.prom",
        "sealrelay_metrics_socket": "/run/sealrelay/metrics.sock", "sealrelay_metrics_listen": "127.0.0.1:9725",
        "sealrelay_recipient_options": {"format": "inline", "on_expired": "notice", "accept": [{"recipient": "root@localhost"}],
            "flood": {"burst": 10, "window": "2m", "urgent_level": 13, "realert": "2h"}},
        "sealrelay_relay_options": {"ehlo": "mon.example.org", "connections": 2, "timeout": "90s", "auth": "plain",
            "messages_per_hour": 1000, "messages_per_day": 5000}}'
    mkdir -p "$root/srv/sealrelay"
    converges "$all"
    arrives "every other variable"
    grep -q '^Subject: an alert' "$last_mail" || fail "the subject is the operator's"
    grep -q '^Return-Path: <bounces@example.org>' "$last_mail" || fail "MAIL FROM is the operator's"
    grep -qx 'ReadWritePaths=/srv/sealrelay/spool' "$root/etc/systemd/system/sealrelay.service.d/paths.conf" || fail "the unit may write there"
    converges "$all"
    changed 0
    converges '{}'
    [ ! -e "$root/etc/systemd/system/sealrelay.service.d/paths.conf" ] || fail "the drop-in is gone"
    ok "every other variable, twice; and without them again"
}

# connects USER PORT: whether that user gets through to the relay host.
connects() { in_monitor setpriv --reuid="$1" --regid=65534 --clear-groups timeout 5 bash -c "exec 3<>/dev/tcp/192.0.2.10/$2" 2>/dev/null; }

trial_firewall() {
    connects nobody 587 || fail "without a firewall everybody gets out"
    converges '{"sealrelay_firewall": true, "sealrelay_firewall_dns": ["192.0.2.53"]}'
    in_monitor systemd-analyze verify --man=no sealrelay-firewall.service sealrelay.socket || fail "systemd takes the units and drop-ins"
    connects sealrelay 587 || fail "the service gets out to the relay host"
    ! connects sealrelay 465 || fail "the service gets out to nothing else"
    ! connects nobody 587 || fail "nobody else gets out to the relay host"
    connects nobody 465 || fail "everything else is as it was"
    arrives "through the firewall"
    converges '{"sealrelay_firewall": true, "sealrelay_firewall_dns": ["192.0.2.53"]}'
    changed 0
    # Another port: the check must get out, and after a no the old rules must be back.
    refuses '{"sealrelay_firewall": true, "sealrelay_firewall_dns": ["192.0.2.53"], "smtp_relay_port": 465, "sasl_password": "another word"}'
    ! connects sealrelay 465 || fail "the old rules are back"
    connects sealrelay 587 || fail "the old rules are back, and in force"
    converges '{}'
    ! in_monitor nft list table inet sealrelay >/dev/null 2>&1 || fail "the table is gone"
    connects nobody 587 || fail "everybody gets out again"
    ok "firewall: the service to the relay host only, and only the service; gone without its variable; IPv6 is absent throughout"
}

# in_relay_postfix NAME=VALUE: for every session from now on; those that are open end.
in_relay_postfix() {
    local master
    master=$(tr -d ' ' <"$work/relay/queue/pid/master.pid")
    postconf -c "$work/relay/config" -e "$1"
    kill -HUP "$master"
    sleep 2
    pkill -P "$master" smtpd || true
}

# The check goes well and the test alert does not.
trial_rollback_after_the_start() {
    in_relay_postfix 'smtpd_end_of_data_restrictions=reject'
    refuses '{"sealrelay_sender_subject": "never in force"}'
    says "Send a test alert the whole way: no."
    in_relay_postfix 'smtpd_end_of_data_restrictions='
    ! grep -q 'never in force' "$root/etc/sealrelay/sealrelay.toml" || fail "the old configuration is in place"
    in_monitor systemctl is-active --quiet sealrelay.service || fail "the relay runs on"
    grep -q '<smtp_server>127.0.0.2</smtp_server>' "$root/var/ossec/etc/ossec.conf" || fail "the IDS points where it did"
    in_monitor /var/ossec/bin/ossec-control send "after a test alert that was refused" || fail "the relay takes alerts"
    # The relay host said no just now, so the relay would leave it alone for a while.
    in_monitor sealrelay queue flush >/dev/null || fail "the relay can be asked"
    is_opened "after a test alert that was refused"
    ok "a test alert that is refused: the old configuration is restored, the relay runs on with it"
}

trial_retire_and_move() {
    # What waits in Postfix would be lost.
    printf 'Subject: waits\n\nx\n' | in_monitor sendmail somebody@example.com
    sleep 2
    refuses '{"sealrelay_retire_mta": true, "sealrelay_move_to_localhost": true}'
    says "wait in Postfix's queue"
    listens $on_1 || fail "Postfix runs on"
    in_monitor postsuper -d ALL >/dev/null 2>&1
    converges '{"sealrelay_retire_mta": true, "sealrelay_move_to_localhost": true}'
    in_monitor postfix status >/dev/null 2>&1 && fail "Postfix is stopped"
    [ "$(in_monitor systemctl is-enabled postfix.service 2>/dev/null)" = masked ] || fail "Postfix is masked"
    [ -e "$root/var/ossec/.procmailrc.retired" ] && [ ! -e "$root/var/ossec/.procmailrc" ] || fail "the recipe is set aside"
    listens $on_1 && listens $on_2 || fail "the relay has both addresses"
    grep -q '<smtp_server>127.0.0.1</smtp_server>' "$root/var/ossec/etc/ossec.conf" || fail "the IDS points at 127.0.0.1"
    arrives "by 127.0.0.1"
    converges '{"sealrelay_retire_mta": true, "sealrelay_move_to_localhost": true}'
    changed 0
    ok "Postfix and procmail retire, the relay moves to 127.0.0.1; again: changed=0"
}

trial_back_again() {
    converges '{}'
    in_monitor postfix status >/dev/null 2>&1 || fail "Postfix runs again"
    [ -e "$root/var/ossec/.procmailrc" ] || fail "the recipe is back"
    grep -q '<smtp_server>127.0.0.2</smtp_server>' "$root/var/ossec/etc/ossec.conf" || fail "the IDS points at 127.0.0.2"
    arrives "by 127.0.0.2 again"
    converges '{}'
    changed 0
    ok "without the switches: Postfix and its recipe are back, the relay beside it"
}

trial_sendmail_package() {
    in_monitor postsuper -d ALL >/dev/null 2>&1
    converges '{"sealrelay_retire_mta": true, "sealrelay_move_to_localhost": true, "sealrelay_mta": true}'
    [ ! -e "$root/usr/sbin/postfix" ] || fail "Postfix's package has gone"
    printf 'Subject: from cron\n\nby the sendmail command\n' | in_monitor sendmail root || fail "sendmail takes a mail"
    is_opened "by the sendmail command"
    converges '{"sealrelay_retire_mta": true, "sealrelay_move_to_localhost": true, "sealrelay_mta": true}'
    changed 0
    ok "sealrelay-mta in place of Postfix's package: what cron mails arrives sealed; again: changed=0"
}
