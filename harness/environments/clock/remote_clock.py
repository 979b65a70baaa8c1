"""A clock at another rate on a node somewhere else: shell scripts that steer libfaketime's file.

libfaketime reads a node's offset from a file at every call. Another rate is an offset that a
loop beside the node rewrites ten times a second. A later setting of the clock must be the last to
write. So the loop's pid is known before it may have to end; then the loop is killed and seen to be
gone, and the file that it may have been about to put in place is removed. The loop ends by itself
when the node's directory is removed.

Run by :mod:`harness.environments.clock.fake`; plain POSIX shell, since hosts have no more.
"""

from __future__ import annotations

#: ends the loops whose marks begin with $1, then makes the offset in file $2 be $3
SET = """
for mark in "$1"*; do
    [ -e "$mark" ] || continue
    loop=$(cat "$mark")
    while [ -n "$loop" ] && grep -qsF -- "$mark" "/proc/$loop/cmdline"; do
        kill -KILL "$loop" 2>/dev/null
        sleep 0.01
    done
    rm -f "$mark" "$mark-next"
done
echo "$3" >"$2.new" && mv "$2.new" "$2"
"""

#: starts the loop $5 for the file $2, the offset $3 (ns) and the gain $4 (ppm); its mark is $1
START_DRIFT = """
: >"$1"
sh -c "$5" sh "$2" "$3" "$4" "$1" >/dev/null 2>&1 &
echo $! >"$1"
"""

#: rewrites the offset in file $1: $2 (ns) and what the gain $3 (ppm) has made of the time since
DRIFT = """
file=$1 base_ns=$2 gain_ppm=$3 mark=$4 began_ns=$(date +%s%N)
while [ -e "$mark" ]; do
    gained_ns=$(( ($(date +%s%N) - began_ns) / 1000 * gain_ppm / 1000 + base_ns ))
    sign=+; [ $gained_ns -ge 0 ] || { sign=-; gained_ns=$(( -gained_ns )); }
    printf '%s%d.%09d\\n' $sign $(( gained_ns / 1000000000 )) $(( gained_ns % 1000000000 )) \
        >"$mark-next"
    mv "$mark-next" "$file"
    sleep 0.1
done
"""
