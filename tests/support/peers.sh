#!/bin/bash
# Makes the real programs the tests talk to available:
#
#   tests/support/peers.sh [FOLDER]        default: target/peers
#   . target/peers/env                     sets PEERS_DIR and puts the programs of the folder on PATH
#
# Small tools without a service are installed, if missing. What brings a service (Postfix) is never installed: its
# packages are unpacked into FOLDER, where nothing starts them and no other mail server on this machine notices.
# No installed package is upgraded, replaced or removed. Harmless to run again, and quick when all is there.
#
# Needs root only when something is missing. Exit: 0, or 69 when something is missing that it could not get.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/packages.sh
. deploy/packages.sh

# Installed if missing; none of these has a service.
tools=(
    "gpg|gpg|reads our messages as a recipient would"
    "gpg-agent|gpg-agent|holds the recipient's secret key for gpg"
    "sq|sq|reads our messages: Sequoia, by its command"
    "sqop|sqop|reads our messages: Sequoia, by the Stateless OpenPGP interface"
    "rnp|rnp|reads our messages: the library of Thunderbird"
    "neomutt|neomutt|shows our messages as a mail program does"
    "script|bsdutils|gives neomutt a pseudo-terminal"
    "openssl|openssl|throw-away CAs; s_client as the oracle for check"
    "swaks|swaks|the ordinary SMTP client, sends alerts"
    "dpkg:libnet-ssleay-perl|libnet-ssleay-perl|lets swaks speak TLS"
    "python3|python3|small scripts and smtplib, standard library only"
    "strace|strace|sees that the fault walk leaves out no system call"
    "faketime|faketime|sets the daemon's clock a year ahead and back"
    "curl|curl|an SMTP client that sends bare line feeds"
    "strace|strace|stops the daemon at each step, and counts its syncs"
    "faketime|faketime|moves the daemon's clock, for what expires"
    "mandoc|mandoc|judges the man pages"
    "groff|groff-base|judges the man pages once more, as man shows them"
    "microsocks|microsocks|the SOCKS5 proxy on the way to a relay host"
    "strace|strace|shows that no name is looked up behind a proxy's back"
)

# Unpacked, never installed: they bring services, or plug-ins that must match what is unpacked; the two `mail` programs
# exclude each other; and each of these would change what `mail` or `cron` is on this machine.
unpacked=(
    postfix             # the relay host, and smtp-source, smtp-sink, posttls-finger
    procmail            # with Postfix the stack that is replaced, for benches/compare
    sasl2-bin           # saslpasswd2 makes the relay host's logins
    libsasl2-2          # Cyrus SASL, in the version of its plug-ins
    libsasl2-modules    # PLAIN, LOGIN and SCRAM
    libsasl2-modules-db # logins in a file, so that no login daemon is needed
    bsd-mailx           # `mail`, by way of sendmail
    mailutils           # GNU `mail`, by way of sendmail
    s-nail              # `mail` once more, by way of sendmail and by SMTP
    msmtp               # a sendmail that speaks SMTP itself
    cron                # mails what jobs print, by way of sendmail
    libpam-modules      # cron asks PAM whether a job may run
    prometheus          # promtool, which judges the metrics
    systemd             # systemd-analyze and the like, which judge the units
    libsystemd-shared   # what these have in common
    apparmor            # apparmor_parser, which judges the profile
)

# The programs of the folder that tests call by name.
programs=(smtp-source smtp-sink posttls-finger postconf postcat saslpasswd2 bsd-mailx mail.mailutils s-nail msmtp promtool
    apparmor_parser systemd-analyze systemd-sysusers systemd-tmpfiles)

folder=$(realpath -m "${1:-target/peers}")

# The folder is good when its programs load: no library is missing or too old.
bad=""   # the first program that does not load
unpacked_is_good() {
    [ -e "$folder/env" ] || return 1
    local program
    for program in lib/postfix/sbin/smtpd lib/postfix/sbin/master sbin/smtp-source sbin/saslpasswd2 \
        bin/procmail bin/formail bin/bsd-mailx bin/mail.mailutils bin/s-nail bin/msmtp bin/promtool sbin/cron \
        sbin/apparmor_parser bin/systemd-analyze bin/systemd-sysusers bin/systemd-tmpfiles; do
        loads "$folder/root/usr/$program" || { bad=$program; return 1; }
    done
}

loads() {
    local report
    report=$(libraries_of "$1") && ! grep -q 'not found' <<<"$report"
}

libraries_of() (
    # shellcheck source=/dev/null
    . "$folder/env"
    LD_LIBRARY_PATH=$PEERS_LIBRARIES ldd "$1" 2>&1
)

# The libraries that `unpacked` needs, directly or not, and that the system does not have. Their names differ between
# releases, so apt is asked. Other dependencies (debconf, ssl-cert ...) serve the installation that does not happen.
missing_libraries() {
    local queue=("${unpacked[@]}") seen=" " name
    # Bounded: every name is looked at once.
    while [ ${#queue[@]} -gt 0 ]; do
        name=${queue[0]}
        queue=("${queue[@]:1}")
        [[ $seen != *" $name "* ]] || continue
        seen+="$name "
        [[ " ${unpacked[*]} " == *" $name "* ]] || echo "$name"
        while read -r name; do
            have "dpkg:$name" || queue+=("$name")
        done < <(apt-cache depends --important "$name" | sed -n 's/^[ |]*\(Pre\)\{0,1\}Depends: \(lib[^ ]*\)$/\2/p')
    done
}

unpack() {
    local download=$folder/download archive
    # Only what this script made: FOLDER may be somebody's home.
    rm -rf "${folder:?}"/{root,bin,download,env}
    mkdir -p "$download"
    refresh_apt_lists "$folder/log" || return
    local libraries=()
    mapfile -t libraries < <(missing_libraries)
    echo "  with these libraries, missing here: ${libraries[*]:-none}"
    # Root's download needs no detour by apt's own user, who may not reach the folder.
    if ! (cd "$download" && apt-get -q -o APT::Sandbox::User=root download "${unpacked[@]}" "${libraries[@]}") \
        >"$folder/log" 2>&1; then
        cat "$folder/log" >&2
        return 69
    fi
    for archive in "$download"/*.deb; do
        dpkg -x "$archive" "$folder/root"
    done
    join_usr
    # procmail comes as set-user-ID root: nothing in a folder of tests may be.
    chmod -R ug-s "$folder/root"
    rm -rf "$download" "$folder/log"
    write_wrappers
    write_env
    if ! unpacked_is_good; then
        libraries_of "$folder/root/usr/$bad" >&2 || true
        echo "The unpacked $bad does not load: see the libraries above." >&2
        return 69
    fi
}

# Debian 12's packages still name /bin and /sbin, which have been links into /usr for long.
join_usr() {
    local old
    for old in bin sbin; do
        [ ! -d "$folder/root/$old" ] || [ -L "$folder/root/$old" ] || {
            cp -a "$folder/root/$old/." "$folder/root/usr/$old/" && rm -rf "${folder:?}/root/$old"
        }
    done
}

# Wrappers find the folder from their own place, so it may be moved with the clone.
write_wrappers() {
    local program
    mkdir -p "$folder/bin"
    for program in "${programs[@]}"; do
        cat >"$folder/bin/$program" <<'WRAPPER'
#!/bin/bash
# Runs the unpacked program of this name with the libraries unpacked beside it. Made by tests/support/peers.sh.
. "$(dirname "$(readlink -f "$0")")/../env"
program=$PEERS_DIR/root/usr/sbin/$(basename "$0")
[ -e "$program" ] || program=$PEERS_DIR/root/usr/bin/$(basename "$0")
LD_LIBRARY_PATH=$PEERS_LIBRARIES SASL_PATH=$PEERS_SASL_PLUGINS exec "$program" "$@"
WRAPPER
        chmod +x "$folder/bin/$program"
    done
}

write_env() {
    cat >"$folder/env" <<'ENV'
# To be sourced by bash. Made by tests/support/peers.sh.
PEERS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PEERS_DIR
# Only for the unpacked programs, as LD_LIBRARY_PATH and SASL_PATH: never export them to anything else.
PEERS_LIBRARIES=$PEERS_DIR/root/usr/lib/postfix
PEERS_SASL_PLUGINS=$(echo "$PEERS_DIR"/root/usr/lib/*-linux-gnu*/sasl2)
for peers_directory in "$PEERS_DIR"/root{/usr,}/lib/*-linux-gnu*{,/systemd}; do
    [ ! -d "$peers_directory" ] || PEERS_LIBRARIES+=:$peers_directory
done
unset peers_directory
case ":$PATH:" in
    *":$PEERS_DIR/bin:"*) ;;
    *) PATH=$PEERS_DIR/bin:$PATH ;;
esac
ENV
}

result=0
install_missing "${tools[@]}" || result=$?
if ! unpacked_is_good; then
    echo "Missing, to be unpacked into $folder (not installed, no service): ${unpacked[*]}"
    if ! require_apt; then
        result=69
    elif [ "$(id -u)" != 0 ]; then
        # Unpacking would do without root, but Postfix runs only as root: half a relay host helps nobody.
        echo "Not root, so nothing was unpacked: run this once as root." >&2
        result=69
    else
        unpack || result=$?
    fi
fi
exit $result
