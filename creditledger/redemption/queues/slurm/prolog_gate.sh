#!/bin/sh
# PrologSlurmctld: a job that must be paid for starts once for each marker of its own, and not after the
# time in it. Slurm requeues what is refused here. Call it from another prolog, with its exit code.
# Written by `creditledger queue install`: install again rather than edit.

directory=@DIRECTORY@
@SLURM_CONF@
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    job="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
else
    job="$SLURM_JOB_ID"
fi
name="$job.${SLURM_JOB_RESTART_COUNT:-0}.$SLURM_JOB_UID"

# Who moves the marker away first has decided, here or in creditledger.
if { read -r latest <"$directory/paid/$name"; } 2>/dev/null; then
    if [ "$(date +%s)" -lt "$latest" ]; then
        mv -T "$directory/paid/$name" "$directory/started/$name" 2>/dev/null && exit 0
    else
        rm -f "$directory/paid/$name"
    fi
fi

# Nobody has paid: only jobs without our mark pass. Who cannot tell lets nothing pass.
shown="$(@SCONTROL@ --oneliner show job "$SLURM_JOB_ID" 2>/dev/null)" || shown=" AdminComment=creditledger"
case "$shown" in
*" AdminComment=creditledger"*) exit 1 ;;
esac
exit 0
