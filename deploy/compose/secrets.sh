#!/bin/sh
# Makes what compose.yaml reads as secrets, in deploy/secrets: a certificate for the status page, and one user with a
# random password for each of csf24's page, Orthanc, Grafana and PostgreSQL. What is there already is left alone, so that your own
# certificate may be put there first. Needs openssl, and the image csf24:cpu (or IMAGE) for the page's users file.
set -eu
cd "$(dirname "$0")/.."
image=${IMAGE:-csf24:cpu}
engine=${ENGINE:-}
[ -n "$engine" ] || engine=$(command -v podman || command -v docker) || { echo "needs podman or docker"; exit 1; }
# Others on this machine cannot enter the folder; inside the containers each file is for one service, and readable
# whatever its account.
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets
password() { openssl rand -hex 12; }

if [ ! -e page.pem ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj /CN=csf24 \
    -addext "subjectAltName=DNS:csf24,DNS:localhost,DNS:$(hostname),IP:127.0.0.1" \
    -keyout page.key -out page.pem 2>/dev/null
fi
if [ ! -e page-users ]; then
  password >page-password
  # shellcheck disable=SC2016 # the shell in the container does this
  "$engine" run --rm --interactive ${RUN_OPTIONS:-} --entrypoint sh "$image" -c '
    csf24 users set admin --role act --file users --password-stdin >/dev/null && cat users
  ' <page-password >page-users.new
  mv page-users.new page-users
fi
if [ ! -e orthanc-users.json ]; then
  printf '{"RegisteredUsers": {"admin": "%s"}}\n' "$(password)" >orthanc-users.json
fi
[ -e grafana-password ] || password >grafana-password
[ -e database-password ] || password >database-password # of compose.machines.yaml
chmod 644 page.pem page.key page-users orthanc-users.json grafana-password database-password
