#!/bin/bash
# Makes the X.509 test material in certs/test/ anew: bash certs/make-test-certs.sh
#
# The keys are public by being here: nothing outside tests may trust this CA.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p test
days=36500

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days -subj "/CN=sealrelay test CA" \
    -keyout test/ca-key.pem -out test/ca.pem 2>/dev/null
# RSA, as most relay hosts have.
openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout test/localhost-key.pem -out test/localhost.csr 2>/dev/null
openssl x509 -req -in test/localhost.csr -CA test/ca.pem -CAkey test/ca-key.pem -CAcreateserial -days $days \
    -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n') \
    -out test/localhost.pem 2>/dev/null
rm -f test/localhost.csr test/ca.srl
