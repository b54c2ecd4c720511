#!/bin/sh
# Draws a password for each secret of deploy/compose.yaml that has none yet, and makes the file of tokens, empty. The folder is closed to others; the files in it
# are readable, because Compose mounts them as they are and the containers run as users of their own.
set -eu
folder="$(cd "$(dirname "$0")" && pwd)/secrets"
mkdir -p "$folder"
chmod 700 "$folder"
for name in postgres_owner login_archive login_autoreply login_config login_router login_sla grafana_admin; do
  [ -s "$folder/$name" ] && continue
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$folder/$name"
  chmod 644 "$folder/$name"
  echo "made $name"
done
# `deskline router token` adds lines to it: names, roles and hashes.
if [ ! -e "$folder/router_tokens" ]; then
  : >"$folder/router_tokens"
  chmod 644 "$folder/router_tokens"
  echo "made router_tokens, with nobody in it"
fi
