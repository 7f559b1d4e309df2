#!/bin/bash
# Makes a small root for the unpacked cron, so that it runs for real without seeing this machine's jobs, mail or PAM:
#
#   tests/support/cron_root.sh FOLDER SENDMAIL
#   chroot FOLDER /usr/sbin/cron -f
#
# SENDMAIL becomes FOLDER/usr/sbin/sendmail, which cron calls by that name; put jobs into FOLDER/etc/crontab. Needs
# target/peers (tests/support/peers.sh, then `. target/peers/env`), and root for the chroot. Exit: 0, or 69.
set -euo pipefail
folder=$1
sendmail=$2
: "${PEERS_DIR:?source target/peers/env first}"
# shellcheck source=/dev/null
. "$PEERS_DIR/env"

mkdir -p "$folder"/{bin,dev,etc/cron.d,etc/pam.d,root,run,tmp,usr/sbin,var/spool/cron/crontabs}
ln -sfn ../run "$folder/var/run"
cp "$PEERS_DIR/root/usr/sbin/cron" "$folder/usr/sbin/cron"
cp "$sendmail" "$folder/usr/sbin/sendmail"
cp /bin/sh /bin/cat "$folder/bin/"

# Any account may run its job here.
permit=$(find "$PEERS_DIR/root" -name pam_permit.so -print -quit)
[ -n "$permit" ] || { echo "no pam_permit.so in $PEERS_DIR" >&2; exit 69; }
for kind in auth account session; do echo "$kind required pam_permit.so"; done >"$folder/etc/pam.d/cron"
cp "$folder/etc/pam.d/cron" "$folder/etc/pam.d/other"
echo "root:x:0:0:root:/root:/bin/sh" >"$folder/etc/passwd"
echo "root:x:0:" >"$folder/etc/group"
echo "cron" >"$folder/etc/hostname"
: >"$folder/dev/null"

# The libraries of all of these, at the paths where the loader looks first.
modules=${permit#"$PEERS_DIR/root"}
mkdir -p "$folder$(dirname "$modules")"
cp "$permit" "$folder$modules"
for program in "$folder"/usr/sbin/* "$folder"/bin/* "$permit"; do
    LD_LIBRARY_PATH=$PEERS_LIBRARIES ldd "$program" | grep -o '/[^ ]*' || true
done | sort -u | while read -r library; do
    target=$folder/${library#"$PEERS_DIR/root"}
    mkdir -p "$(dirname "$target")"
    [ -e "$target" ] || cp -L "$library" "$target"
done
