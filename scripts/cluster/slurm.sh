#!/bin/bash
# A SLURM cluster of one node on this machine, for tests. Needs root and Debian's slurm-wlm and munge.
#
#   scripts/cluster/slurm.sh start FOLDER    configuration, state and logs go to FOLDER
#   scripts/cluster/slurm.sh stop FOLDER
#
# Then: export SLURM_CONF=FOLDER/slurm.conf
set -eu
action=$1 folder=$(mkdir -p "$2" && cd "$2" && pwd)
export SLURM_CONF="$folder/slurm.conf"

stop() {
    for pid in "$folder"/*.pid; do
        [ ! -s "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || true
    done
}

if [ "$action" = stop ]; then
    stop
    exit
fi
for program in munged slurmctld slurmd sbatch; do
    [ -x "$(command -v $program || echo /usr/sbin/$program)" ] || { echo "$program is not installed; try: apt-get install slurm-wlm munge" >&2; exit 3; }
done
mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
chown munge: "$folder/munge"
chmod 755 "$folder/munge"
[ -s "$folder/munge/key" ] || { head -c 1024 /dev/urandom >"$folder/munge/key"; chown munge: "$folder/munge/key"; chmod 400 "$folder/munge/key"; }
setpriv --reuid=munge --regid=munge --clear-groups /usr/sbin/munged --force --key-file="$folder/munge/key" \
    --socket="$folder/munge/socket" --pid-file="$folder/munge/munged.pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
cp "$folder/munge/munged.pid" "$folder/munged.pid"
host=$(hostname -s)
cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
ReturnToService=2
KillWait=10
MinJobAge=3600
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmdSpoolDir=$folder/spool
StateSaveLocation=$folder/state
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
slurmctld -c -f "$SLURM_CONF"
slurmd -c -f "$SLURM_CONF"
for _ in $(seq 50); do
    sinfo -h -o %t 2>/dev/null | grep -q idle && { sinfo; exit 0; }
    sleep 0.2
done
echo "the node does not become idle; see $folder" >&2
exit 1
