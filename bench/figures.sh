# Sourced by the scripts of bench/, after tests/lib/functions.sh: printing and computing figures. Numbers come one a line.
# shellcheck shell=bash

# figure NAME VALUE UNIT LIMIT [less|more]: one row; the value must be at most (or at least) the limit
figure() {
  awk -v name="$1" -v value="$2" -v unit="$3" -v limit="$4" -v way="${5:-less}" 'BEGIN {
    ok = way == "less" ? value <= limit : value >= limit
    printf "%s\t%.4g%s\t%s %.4g%s\t%s\n", name, value, unit, way == "less" ? "<=" : ">=", limit, unit, ok ? "ok" : "MISSED" }'
}

# percentile P <numbers
percentile() { sort -g | awk -v p="$1" '{ v[NR] = $1 } END { i = int((NR - 1) * p / 100 + 0.5) + 1; print v[i] }'; }
median() { percentile 50; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { print a / b }'; }

# milliseconds COMMAND...: how long it takes; its output goes to standard error
milliseconds() {
  local begin=$EPOCHREALTIME
  "$@" >&2 || return
  awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", (b - a) * 1000 }'
}

# bare_freeze_ms DIRECTORY...: FIFREEZE of those filesystems side by side, then FITHAW, by themselves
bare_freeze_ms() {
  python3 -c 'import concurrent.futures, fcntl, os, sys, time
fds = [os.open(d, os.O_RDONLY | os.O_DIRECTORY) for d in sys.argv[1:]]
with concurrent.futures.ThreadPoolExecutor(len(fds)) as pool:
  begin = time.monotonic()
  list(pool.map(lambda fd: fcntl.ioctl(fd, 0xC0045877, 0), fds))
  list(pool.map(lambda fd: fcntl.ioctl(fd, 0xC0045878, 0), fds))
print((time.monotonic() - begin) * 1000)' "$@"
}

# start_random_writes DIRECTORY MEGABYTES_PER_S [SIZE]: 4 KiB each, until the script ends; LOAD is the process
# (--thread: a job of fio is otherwise a process of its own, which outlives it.)
start_random_writes() {
  fio --thread --name=load --directory="$1" --size="${3:-128M}" --rw=randwrite --bs=4k --ioengine=psync --rate="${2}m" \
    --time_based --runtime=3600 --output=/dev/null --minimal >/dev/null 2>&1 &
  LOAD=$!
  cleanup_fn kill_and_wait "$LOAD"
  wait_for 60 test -s "$1/load.0.0"
}
