#!/bin/bash
# Makes Ansible and its linter available, in the versions of ansible-requirements.txt:
#
#   tests/support/ansible.sh               into target/ansible/venv; nothing outside it changes
#   . target/ansible/env                   puts them on PATH, and our collection where they find it
#
# Harmless to run again, and quick when all is there. Exit: 0, or 69 when it could not get them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
requirements=tests/support/ansible-requirements.txt
folder=$PWD/target/ansible

installed_is_good() { cmp -s "$requirements" "$folder/requirements.txt" && "$folder/venv/bin/ansible" --version >/dev/null 2>&1; }

# ansible-core 2.19 wants it.
python_is_new_enough() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if ! installed_is_good; then
    python_is_new_enough || { echo "Ansible needs Python 3.11 or later, with its venv module." >&2; exit 69; }
    rm -rf "$folder/venv" "$folder/requirements.txt"
    mkdir -p "$folder"
    if ! { python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" install --quiet --no-deps -r "$requirements"; } \
        >"$folder/log" 2>&1; then
        cat "$folder/log" >&2
        exit 69
    fi
    cp "$requirements" "$folder/requirements.txt"
fi

mkdir -p "$folder/collections/ansible_collections/sealrelay"
ln -sfn "$PWD/deploy/ansible" "$folder/collections/ansible_collections/sealrelay/sealrelay"
: >"$folder/ansible.cfg"
cat >"$folder/env" <<'ENV'
# To be sourced by bash. Made by tests/support/ansible.sh.
ANSIBLE_FOLDER=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export ANSIBLE_FOLDER
# Nothing of the operator's own is read or written.
export ANSIBLE_HOME=$ANSIBLE_FOLDER/home ANSIBLE_CONFIG=$ANSIBLE_FOLDER/ansible.cfg ANSIBLE_COLLECTIONS_PATH=$ANSIBLE_FOLDER/collections
export ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_NOCOWS=true ANSIBLE_DEPRECATION_WARNINGS=true
PATH=$ANSIBLE_FOLDER/venv/bin:$PATH
ENV
