#!/bin/bash
# Runs a private Postfix that relays to benches/sink.rs, until standard input closes or SIGTERM comes; then stops it
# completely. As root. Settings are those of the monitor server whose mail is replaced (SecureDrop's main.cf), defaults
# where that says nothing; only names, places and this machine's loopback differ.
#
#   postfix.sh FOLDER PORT SINK_PORT CA PASSWORD_FILE LOGIN PROCMAIL [--set NAME=VALUE]...
#
#   FOLDER     made if missing; everything lives beneath it. The account below must be able to get there
#   PORT       on 127.0.0.1, where mail comes in: from loopback, without TLS and login
#   SINK_PORT  of the relay host `localhost`, which is spoken to only over verified TLS (CA, name) and with a login
#
#   PROCMAIL   the program; it gets FOLDER/procmailrc, which the caller has put there if mail for root comes in
#
# Mail to root@localhost goes to the account `games`, by way of procmail; other mail to the relay host. No account is made: Postfix runs as `mail`, and `games`, which is
# in every Debian, has no processes and owns nothing, is the one that local delivery and `sendmail` run as. Postfix's
# set-group-ID `postdrop` is therefore not needed: its group is that of `games`.
#
# Standard output: the one line `ready` when it takes connections (within 20 s). Exit: 0 stopped as asked; 1 did not
# start or died, with its log on standard error.
set -euo pipefail

dir=$1 port=$2 sink_port=$3 ca=$4 password_file=$5 login=$6 procmail=$7
shift 7
settings=()
while [ $# -gt 1 ] && [ "$1" = --set ]; do
    settings+=("$2")
    shift 2
done

# Installed, or unpacked by tests/support/peers.sh (then with libraries of its own).
root=''
if [ -r "${PEERS_DIR-}/env" ]; then
    # shellcheck source=/dev/null
    . "$PEERS_DIR/env"
    root=$PEERS_DIR/root
fi
[ -x "$root/usr/lib/postfix/sbin/master" ] || root=''
libraries=${root:+$PEERS_LIBRARIES}
meta=$root/usr/share/postfix
[ -n "$root" ] || meta=/etc/postfix
postfix=$root/usr/lib/postfix/sbin
hostname=mon.example.org
owner=mail
user=games

make_folders() {
    local name
    mkdir -p "$dir/config" "$dir/queue"
    for name in active bounce corrupt defer deferred flush hold incoming private saved trace data; do
        mkdir "$dir/queue/$name"
        chown "$owner:" "$dir/queue/$name"
        chmod 700 "$dir/queue/$name"
    done
    mkdir "$dir/queue/pid"
    # What `sendmail` hands in goes through these two.
    for name in public maildrop; do
        mkdir "$dir/queue/$name"
        chown "$owner:$user" "$dir/queue/$name"
    done
    chmod 710 "$dir/queue/public"
    chmod 730 "$dir/queue/maildrop"
}

# The queue folder is the only one Postfix's own processes are sure to reach once they have given up root.
write_main_cf() {
    cat >"$dir/config/main.cf" <<MAIN
compatibility_level = 3.6
# Where things are.
queue_directory = $dir/queue
data_directory = $dir/queue/data
daemon_directory = $postfix
command_directory = $root/usr/sbin
shlib_directory = $root/usr/lib/postfix
meta_directory = $meta
maillog_file = $dir/maillog
maillog_file_prefixes = $dir
import_environment = LD_LIBRARY_PATH SASL_PATH MAIL_CONFIG MAIL_LOGTAG POSTLOG_SERVICE POSTLOG_HOSTNAME TZ=UTC LANG=C
export_environment = TZ MAIL_CONFIG LANG LD_LIBRARY_PATH

# Who runs it.
mail_owner = $owner
setgid_group = $user
default_privs = nobody

# This machine only, and no question to anybody's DNS.
inet_interfaces = 127.0.0.1
smtp_host_lookup = native
smtpd_peername_lookup = no

# From here on as on the monitor server.
myhostname = $hostname
myorigin = \$myhostname
mydestination = \$myhostname, localhost.localdomain , localhost
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
smtpd_recipient_restrictions = reject_unauth_destination
alias_maps = hash:$dir/config/aliases
alias_database = hash:$dir/config/aliases
mailbox_command = $procmail $dir/procmailrc
mailbox_size_limit = 0
biff = no
append_dot_mydomain = no
recipient_delimiter = +
maximal_queue_lifetime = 14d
relayhost = [localhost]:$sink_port
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = hash:$dir/config/sasl_passwd
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_CAfile = $ca
smtp_tls_session_cache_database = btree:\${data_directory}/smtp_scache
smtp_generic_maps = hash:$dir/config/generic
smtp_header_checks = regexp:$dir/config/header_checks
MAIN
    # The later of two lines counts.
    [ ${#settings[@]} = 0 ] || printf '%s\n' "${settings[@]/=/ = }" >>"$dir/config/main.cf"
    # Postfix waits, three seconds in all, while its configuration looks as if it were being written.
    touch -d '1 minute ago' "$dir/config/main.cf"
}

write_maps() {
    echo "root: $user" >"$dir/config/aliases"
    # mailutils names the machine and not what Postfix calls it.
    printf '%s\n' "$user@$hostname $login" "$user@$(uname -n) $login" >"$dir/config/generic"
    printf '/^%s:/ IGNORE\n' X-Originating-IP X-Mailer Mime-Version User-Agent Received >"$dir/config/header_checks"
    (umask 077 && echo "[localhost]:$sink_port $login:$(<"$password_file")" >"$dir/config/sasl_passwd")
    run postalias -c "$dir/config" "hash:$dir/config/aliases"
    run postmap -c "$dir/config" "hash:$dir/config/generic" "hash:$dir/config/sasl_passwd"
}

run() { LD_LIBRARY_PATH=$libraries "$root/usr/sbin/$1" "${@:2}"; }

# Debian's, but for chroot (the folders are elsewhere) and what nobody uses here.
write_master_cf() {
    cat >"$dir/config/master.cf" <<MASTER
127.0.0.1:$port inet n - n - - smtpd
pickup     unix  n - n 60   1 pickup
cleanup    unix  n - n -    0 cleanup
qmgr       unix  n - n 300  1 qmgr
tlsmgr     unix  - - n 1000 1 tlsmgr
rewrite    unix  - - n -    - trivial-rewrite
bounce     unix  - - n -    0 bounce
defer      unix  - - n -    0 bounce
trace      unix  - - n -    0 bounce
verify     unix  - - n -    1 verify
flush      unix  n - n 1000 0 flush
proxymap   unix  - - n -    - proxymap
proxywrite unix  - - n -    1 proxymap
smtp       unix  - - n -    - smtp
relay      unix  - - n -    - smtp
error      unix  - - n -    - error
retry      unix  - - n -    - error
discard    unix  - - n -    - discard
local      unix  - n n -    - local
anvil      unix  - - n -    1 anvil
scache     unix  - - n -    1 scache
tlsproxy   unix  - - n -    0 tlsproxy
postlog    unix-dgram n - n - 1 postlogd
MASTER
}

start() {
    # A session of its own, so that its signals stay among its own processes.
    # POSTLOG_*: without them what goes wrong before its log is open would go to the machine's syslog.
    LD_LIBRARY_PATH=$libraries SASL_PATH=${root:+$PEERS_SASL_PLUGINS} \
        POSTLOG_SERVICE=public/postlog POSTLOG_HOSTNAME=$hostname \
        setsid "$postfix/master" -c "$dir/config" -s </dev/null >"$dir/master.out" 2>&1 &
    master=$!
    # shellcheck disable=SC2016 # $0 is for the inner bash
    # If this script is killed outright, its end of this pipe closes without a word, and the other side stops Postfix.
    exec {lifeline}> >(exec setsid bash -c 'read -r _ || kill -TERM -- "-$0"' "$master" >/dev/null 2>&1)
}

alive() { kill -0 "$master" 2>/dev/null; }

await_banner() {
    local deadline=$((SECONDS + 20)) banner
    while alive && [ $SECONDS -lt $deadline ]; do
        if { exec {dialog}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; then
            read -r -t 5 banner <&"$dialog" || banner=''
            printf 'QUIT\r\n' >&"$dialog"
            exec {dialog}>&-
            [[ $banner != 220* ]] || return 0
        fi
        sleep 0.05
    done
    return 1
}

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
write_main_cf
write_maps
write_master_cf
start
trap stop EXIT
trap 'exit 0' TERM INT HUP
await_banner || give_up "does not answer on port $port"
echo ready

# Until standard input closes. The one second is for noticing that Postfix died, and for signals.
while alive; do
    status=0
    read -r -t 1 _ || status=$?
    # 1: end of input; over 128: nothing came within the second.
    [ $status != 1 ] || exit 0
done
give_up "died"
