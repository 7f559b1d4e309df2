#!/bin/bash
# Runs a real, private Postfix as the relay host of one test, until standard input closes or SIGTERM comes; then stops
# it completely. Several may run at once, each with its own DIR and ports. As root, after tests/support/peers.sh.
#
#   postfix.sh DIR PORT CERTIFICATE KEY USER PASSWORD [OPTION]...
#
#   DIR           made if missing; everything lives beneath it. That of an earlier run is taken up with its mail
#   PORT          on 127.0.0.1: STARTTLS demanded, AUTH only inside TLS, mail only after AUTH
#   CERTIFICATE   PEM, the server's own first, then its issuers; KEY: PEM, not encrypted
#   USER          with or without @domain
#
#   --implicit PORT          also listens there with TLS from the first octet
#   --size-limit OCTETS      announced as SIZE and enforced; default 62914560 (60 MiB, so 40 MB of attachments in base64 pass)
#   --mechanisms "NAME ..."  offered by AUTH; default "PLAIN LOGIN"; SCRAM-SHA-256 works too
#   --set NAME=VALUE         any setting of main.cf, last word; may be repeated
#
# Standard output: the one line `ready` when it takes connections (within 20 s). Exit: 0 stopped as asked; 1 did not
# start or died, with its log on standard error; 64 wrong usage; 77 not possible here (no peers, not root).
#
# Whoever the recipient, mail lands in DIR/Maildir/new, below the lines Return-Path, X-Original-To, Delivered-To and
# Received (which names protocol, cipher and login). Log: DIR/maillog.
set -euo pipefail

[ $# -ge 6 ] || {
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 64
}
dir=$(realpath -m "$1") port=$2 certificate=$3 key=$4 user=$5 password=$6
shift 6

implicit='' size_limit=62914560 mechanisms="PLAIN LOGIN" settings=()
while [ $# -gt 0 ]; do
    case "$1 ${2+given}" in
        "--implicit given") implicit=$2 ;;
        "--size-limit given") size_limit=$2 ;;
        "--mechanisms given") mechanisms=$2 ;;
        "--set given") settings+=("$2") ;;
        *) echo "unknown option or no value: $1" >&2; exit 64 ;;
    esac
    shift 2
done

[ "$(id -u)" = 0 ] || {
    echo "Postfix runs only as root." >&2
    exit 77
}
env=${PEERS_DIR:-$(dirname "$(readlink -f "$0")")/../../target/peers}/env
[ -r "$env" ] || {
    echo "No Postfix in $(dirname "$env"): run tests/support/peers.sh first." >&2
    exit 77
}
# shellcheck source=/dev/null
. "$env"
postfix=$PEERS_DIR/root/usr/lib/postfix/sbin
hostname=relay.example.org
# Postfix wants accounts of its own. These are in every Debian and have no processes; we make no new ones.
owner=mail
setgid_group=news

# Processes of Postfix give up root and may then not get through the folders above DIR (a temporary folder is usually
# closed to others). Hence they work by paths relative to the queue, which is their current directory.
make_folders() {
    local name
    mkdir -p "$dir/config" "$dir/queue"
    # Closed to others: the logins lie beneath it.
    chown root:root "$dir/config"
    chmod 700 "$dir/config"
    for name in active bounce corrupt defer deferred flush hold incoming private saved trace data sasl Maildir; do
        mkdir -p "$dir/queue/$name"
        chown "$owner:" "$dir/queue/$name"
        chmod 700 "$dir/queue/$name"
    done
    mkdir -p "$dir/queue/pid"
    # Postfix expects these two although nobody submits mail on the command line here.
    for name in public maildrop; do
        mkdir -p "$dir/queue/$name"
        chown "$owner:$setgid_group" "$dir/queue/$name"
        chmod 730 "$dir/queue/$name"
    done
    ln -sfn queue/Maildir "$dir/Maildir"
}

# One file, key first, is what smtpd_tls_chain_files takes; so key and certificate cannot be of two different makings.
copy_certificate() {
    (umask 077 && cat "$key" <(echo) "$certificate" >"$dir/config/chain.pem")
}

make_login() {
    local domain=$hostname
    [[ $user != *@* ]] || domain=${user#*@}
    # Debian's Postfix looks in the folder sasl of its configuration, whatever cyrus_sasl_config_path says.
    mkdir -p "$dir/config/sasl"
    cat >"$dir/config/sasl/smtpd.conf" <<SASL
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: sasl/logins
mech_list: $mechanisms
log_level: 3
SASL
    rm -f "$dir/queue/sasl/logins"
    printf '%s' "$password" | saslpasswd2 -p -c -f "$dir/queue/sasl/logins" -u "$domain" "${user%%@*}"
    chown "$owner:" "$dir/queue/sasl/logins"
}

write_main_cf() {
    cat >"$dir/config/main.cf" <<MAIN
compatibility_level = 3.6
# Where things are.
queue_directory = $dir/queue
data_directory = data
daemon_directory = $postfix
command_directory = $PEERS_DIR/root/usr/sbin
shlib_directory = $PEERS_DIR/root/usr/lib/postfix
meta_directory = $PEERS_DIR/root/usr/share/postfix
maillog_file = $dir/maillog
maillog_file_prefixes = $dir
import_environment = LD_LIBRARY_PATH SASL_PATH MAIL_CONFIG MAIL_LOGTAG POSTLOG_SERVICE POSTLOG_HOSTNAME TZ=UTC LANG=C

# Who runs it.
mail_owner = $owner
setgid_group = $setgid_group
default_privs = nobody

# This machine only, and no question to anybody's DNS.
myhostname = $hostname
myorigin = $hostname
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
smtpd_peername_lookup = no
default_transport = error:this relay host sends nothing on
relay_transport = error:this relay host sends nothing on

# TLS first, then a login, then mail.
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = $dir/config/chain.pem
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
tls_random_source = dev:/dev/urandom
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = $dir/config/sasl
smtpd_sasl_local_domain = $hostname
smtpd_sasl_security_options = noanonymous
smtpd_sasl_authenticated_header = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject

# Every recipient's mail into one Maildir, with its own header left alone.
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
virtual_alias_maps =
virtual_alias_domains =
virtual_mailbox_domains = static:here
virtual_mailbox_maps = static:Maildir/
# The queue folder, in the only absolute form that does not lead through the folders above it.
virtual_mailbox_base = /proc/self/cwd
virtual_transport = virtual
virtual_minimum_uid = 1
virtual_uid_maps = static:$(id -u $owner)
virtual_gid_maps = static:$(id -g $owner)
local_header_rewrite_clients =
recipient_delimiter =
notify_classes =

# Big messages, long headers, no brakes.
message_size_limit = $size_limit
virtual_mailbox_limit = 0
mailbox_size_limit = 0
header_size_limit = 1048576
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 10000
in_flow_delay = 0
fast_flush_domains =
MAIN
    # The later of two lines counts.
    [ ${#settings[@]} = 0 ] || printf '%s\n' "${settings[@]/=/ = }" >>"$dir/config/main.cf"
    # Postfix waits, three seconds in all, while its configuration looks as if it were being written.
    touch -d '1 minute ago' "$dir/config/main.cf"
}

write_master_cf() {
    {
        # service type private unprivileged chroot wakeup most command
        echo "127.0.0.1:$port inet n - n -    - smtpd"
        [ -z "$implicit" ] ||
            echo "127.0.0.1:$implicit inet n - n -    - smtpd -o smtpd_tls_wrappermode=yes"
        cat <<'MASTER'
cleanup  unix       n - n -    0 cleanup
qmgr     unix       n - n 300  1 qmgr
tlsmgr   unix       - - n 1000 1 tlsmgr
rewrite  unix       - - n -    - trivial-rewrite
bounce   unix       - - n -    0 bounce
defer    unix       - - n -    0 bounce
trace    unix       - - n -    0 bounce
error    unix       - - n -    - error
retry    unix       - - n -    - error
virtual  unix       - n n -    - virtual
anvil    unix       - - n -    1 anvil
proxymap unix       - - n -    - proxymap
postlog  unix-dgram n - n -    1 postlogd
MASTER
    } >"$dir/config/master.cf"
}

# A program that answers there would make us say `ready` for it.
demand_free_port() {
    local number
    for number in "$port" ${implicit:+"$implicit"}; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$number") 2>/dev/null; then
            echo "port $number is in use" >&2
            exit 1
        fi
    done
}

start() {
    # A session of its own, so that its signals stay among its own processes.
    # POSTLOG_*: without them what goes wrong before its log is open would go to the machine's syslog.
    LD_LIBRARY_PATH=$PEERS_LIBRARIES SASL_PATH=$PEERS_SASL_PLUGINS \
        POSTLOG_SERVICE=public/postlog POSTLOG_HOSTNAME=$hostname \
        setsid "$postfix/master" -c "$dir/config" -s </dev/null >"$dir/master.out" 2>&1 &
    master=$!
    # shellcheck disable=SC2016 # $0 is for the inner bash
    # If this script is killed outright, its end of this pipe closes without a word, and the other side stops Postfix.
    exec {lifeline}> >(exec setsid bash -c 'read -r _ || kill -TERM -- "-$0"' "$master" >/dev/null 2>&1)
}

# Answering is not enough: a Postfix that cannot use its certificate takes connections and even offers STARTTLS.
await_tls() {
    local deadline=$((SECONDS + 20))
    while alive && [ $SECONDS -lt $deadline ]; do
        if timeout 5 openssl s_client -connect "127.0.0.1:$port" -starttls smtp </dev/null >/dev/null 2>&1; then
            return 0
        fi
        # Its first words on TLS are its last: no use in waiting.
        ! grep -q 'disabling TLS support' "$dir/maillog" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

alive() { kill -0 "$master" 2>/dev/null; }

# shellcheck disable=SC2317 # called by `stop`
# Processes of the master's session that still run. Not `kill -0`: the dead whom process 1 has not yet buried answer it.
survivors() {
    local pid state session rest
    for pid in /proc/[0-9]*; do
        # pid (name) state parent group session ...
        read -r rest <"$pid/stat" || continue
        read -r state _ _ session _ <<<"${rest##*) }"
        [ "$session" != "$master" ] || [ "$state" = Z ] || echo "${pid#/proc/}"
    done 2>/dev/null
}

# SIGTERM makes the master stop its children and itself. Bounded: what is left after 5 s is killed.
# shellcheck disable=SC2317 # called by the trap on EXIT
stop() {
    trap '' TERM INT HUP
    [ -n "${master-}" ] || return 0
    kill -TERM "$master" 2>/dev/null || true
    local tries
    for tries in {1..100}; do
        [ -n "$(survivors)" ] || break
        [ "$tries" != 50 ] || kill -KILL -- "-$master" 2>/dev/null || true
        sleep 0.1
    done
    wait "$master" 2>/dev/null || true
    [ -z "${lifeline-}" ] || echo stopped >&"$lifeline"
}

give_up() {
    echo "Postfix $1; its log follows" >&2
    tail -n 50 "$dir/master.out" "$dir/maillog" >&2 2>/dev/null || true
    exit 1
}

make_folders
copy_certificate
make_login
write_main_cf
write_master_cf
demand_free_port
trap stop EXIT
trap 'exit 0' TERM INT HUP
start
await_tls || give_up "does no TLS on port $port"
echo ready

# Until standard input closes. The one second is for noticing that Postfix died, and for signals.
while alive; do
    line_status=0
    read -r -t 1 _ || line_status=$?
    # 1: end of input; over 128: nothing came within the second.
    [ $line_status != 1 ] || exit 0
done
give_up "died"
