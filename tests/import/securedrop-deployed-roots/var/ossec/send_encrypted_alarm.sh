#!/bin/bash
set -o pipefail
ossec_alert_text="$(< /dev/stdin)"
env | grep -q JOURNALIST_EMAIL || JOURNALIST_EMAIL=''
env | grep -q OSSEC_EMAIL || OSSEC_EMAIL='securedrop@freedom.press'

function send_encrypted_alert() {
    if [[ "$1" = "journalist" ]] ; then
        gpg_fpr=''
        alert_email="$JOURNALIST_EMAIL"
    else
        gpg_fpr='4D2A7C1B9E0F3A5B6C7D8E9F0A1B2C3D4E5F6A7B'
        alert_email="$OSSEC_EMAIL"
    fi
    printf "%s" "${ossec_alert_text}" | /usr/bin/gpg --homedir /var/ossec/.gnupg --trust-model always -ear "$gpg_fpr" |
        /usr/bin/mail -s "$SUBJECT" "$alert_email"
}
send_encrypted_alert "$@"
