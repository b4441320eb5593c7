#!/bin/sh
# EpilogSlurmctld: something has ended. It says no more than that: what was used stands in accounting.
# Written by `creditledger queue install`: install again rather than edit.
touch @DIRECTORY@/doorbell
exit 0
