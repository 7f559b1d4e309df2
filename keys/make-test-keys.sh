#!/bin/bash
# Makes the OpenPGP test material in keys/test/ anew: bash keys/make-test-keys.sh
#
# The secret keys are public by being here: nothing may ever be sealed to these certificates outside tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p test
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT

make() { # NAME, KEY TYPE, SUBKEY TYPE OR NOTHING, EXPIRY
    local name=$1 subkey=()
    [ -z "$3" ] || subkey=("Subkey-Type: ${3% *}" "Subkey-${3##* }" "Subkey-Usage: encrypt")
    printf '%s\n' "%no-protection" "Key-Type: ${2% *}" "Key-${2##* }" "Key-Usage: sign" ${subkey[@]+"${subkey[@]}"} \
        "Name-Email: $name@example.org" "Expire-Date: $4" %commit | gpg --batch --quiet --generate-key
}

export_public() { gpg --armor --export "<$1@example.org>" > "test/$1.asc"; }

# What a recipient of today has: RSA as gpg 2.2 makes it, Cv25519 as 2.4 does.
make admin "RSA Length:4096" "RSA Length:4096" 0
make alice "EDDSA Curve:ed25519" "ECDH Curve:cv25519" 0
# What must be told apart from a usable one.
make sign-only "EDDSA Curve:ed25519" "" 0
make revoked "EDDSA Curve:ed25519" "ECDH Curve:cv25519" 0
for name in admin alice sign-only; do export_public "$name"; done
gpg --armor --export-secret-keys "<admin@example.org>" > test/admin-secret.asc

# Expired: made in the past, for a year.
printf '%s\n' "%no-protection" "Key-Type: EDDSA" "Key-Curve: ed25519" "Key-Usage: sign" "Subkey-Type: ECDH" \
    "Subkey-Curve: cv25519" "Subkey-Usage: encrypt" "Name-Email: expired@example.org" "Expire-Date: 1y" %commit |
    gpg --batch --quiet --faked-system-time 20200101T000000 --generate-key
export_public expired

# Revoked: gpg makes the revocation with the key and puts a colon in front so that nobody imports it by accident.
fingerprint=$(gpg --with-colons --list-keys "<revoked@example.org>" | awk -F: '$1 == "fpr" { print $10; exit }')
sed 's/^:-----/-----/' "$GNUPGHOME/openpgp-revocs.d/$fingerprint.rev" | gpg --batch --quiet --import
export_public revoked

# The fingerprints, for tests that fill them in: NAME FINGERPRINT.
for name in admin alice sign-only revoked expired; do
    gpg --with-colons --list-keys "<$name@example.org>" |
        awk -F: -v name="$name" '$1 == "fpr" { print name, $10; exit }'
done > test/fingerprints
