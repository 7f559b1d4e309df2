#!/bin/bash
# What procmail runs for each alert in the stack that is replaced: the header taken off, the body encrypted by gpg to one
# certificate, and mailed once more with the Subject freed of addresses. Written anew, with the steps of SecureDrop's
# script; standard input is the mail, everything else comes in variables of compare.sh's procmailrc.
set -o pipefail

sealed=$("$FORMAIL" -I '' | gpg --homedir "$KEYRING" --trust-model always -e -a -r "$FINGERPRINT")
status=$?
subject=$(sed -E 's/([0-9]{1,3}\.){3}[0-9]{1,3} ?//g' <<<"$SUBJECT")
if [ $status != 0 ] || [ -z "$sealed" ]; then
    sealed="Failed to encrypt OSSEC alert. Investigate the mailing configuration on the Monitor Server."
fi
# The libraries are for the unpacked programs alone.
LD_LIBRARY_PATH=$LIBRARIES "$MAILER" --no-config -E "set sendmail=sendmail:$SENDMAIL" -s "$subject" "$RECIPIENT" <<<"$sealed"
