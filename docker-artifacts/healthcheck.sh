#!/usr/bin/env bash
# Asks the agent of this container whether it lives. Needs no program but bash.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/${AGENT_PORT:-5000}"
printf 'GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 5 _version status _reason <&3
# 426: it lives, and speaks HTTPS.
[[ $status == 200 || $status == 426 ]]
