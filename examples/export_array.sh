#!/bin/sh
# Write a large dataset with several processes, and begin again those that were killed:
#
#     sh examples/export_array.sh JOBS SHARDS PRESET OUT --shard-rows ROWS --n N [other options of mmnist-export]
#     sh examples/export_array.sh 4 16 canonical set --shard-rows 1000 --n 16000 --length 16000
#
# SHARDS is N/ROWS, rounded up. Each process writes its own range of shards; shards that are there are kept.
set -u
jobs=$1 shards=$2
shift 2
for attempt in 1 2 3 4 5; do
    k=0
    while [ "$k" -lt "$jobs" ]; do
        first=$((k*shards/jobs)) last=$(((k+1)*shards/jobs))
        [ "$first" -lt "$last" ] && mmnist-export "$@" --shards "$first:$last" --quiet &
        k=$((k+1))
    done
    wait
    mmnist-export "$@" --finish # 0: all shards are there; 1: some are missing; 2: an argument is wrong
    code=$?
    [ "$code" -eq 1 ] || exit "$code"
done
exit 1
