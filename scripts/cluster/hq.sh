#!/bin/bash
# HyperQueue on this machine, for tests: a server and workers of one CPU each. Needs the program `hq`.
#
#   scripts/cluster/hq.sh start FOLDER [WORKERS]    two workers by default; state and logs go to FOLDER
#   scripts/cluster/hq.sh worker FOLDER             one more worker; prints its process ID
#   scripts/cluster/hq.sh stop FOLDER
#
# Then: export HQ_SERVER_DIR=FOLDER
set -eu
action=$1 folder=$(mkdir -p "$2" && cd "$2" && pwd)
export HQ_SERVER_DIR="$folder"
command -v hq >/dev/null || { echo "hq is not installed; try: https://it4innovations.github.io/hyperqueue/stable/installation/" >&2; exit 3; }

worker() {
    hq worker start --cpus=1 >>"$folder/workers.log" 2>&1 &
    echo $!
}

case $action in
start)
    hq server start --host=127.0.0.1 >"$folder/server.log" 2>&1 &
    for _ in $(seq 50); do
        ! hq server info >/dev/null 2>&1 || break
        sleep 0.2
    done
    hq server info >/dev/null || { echo "the server does not start; see $folder/server.log" >&2; exit 1; }
    for _ in $(seq "${3:-2}"); do worker; done
    ;;
worker) worker ;;
stop) hq server stop >/dev/null 2>&1 || true ;;
*)
    echo "usage: $0 start|worker|stop FOLDER" >&2
    exit 2
    ;;
esac
