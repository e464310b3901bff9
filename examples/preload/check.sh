#!/usr/bin/env bash
# Runs real programs with the system's malloc and with the preloaded one: output and exit status must be the same. Then
# the promises of the malloc family, forks, what is left at the end, and each misuse in the hardened variant.
# Exit status 77: nothing could be run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
TARGET=${CARGO_TARGET_DIR:-$PWD/target}/preload
PATIENCE=120                                        # seconds for one program
[[ $(uname -sm) == 'Linux x86_64' || $(uname -sm) == 'Linux aarch64' ]] || { echo "SKIPPED: 64-bit Linux only"; exit 77; }

cargo build --release --target-dir "$TARGET"
cargo build --release --target-dir "$TARGET/hardened" --features hardened
OURS=$TARGET/release/libhectare_preload.so
HARDENED=$TARGET/hardened/release/libhectare_preload.so
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
ran=0 skipped=0 bad=0

# Makes sure of a program, by its name and its package.
have() {
    command -v "$1" >/dev/null && return
    { ((EUID == 0)) && command -v apt-get >/dev/null && apt-get install -y --no-install-recommends "$2" >/dev/null 2>&1; } ||
        { echo "SKIPPED: $1 is missing and cannot be installed"; skipped=$((skipped + 1)); return 1; }
}

good() { ran=$((ran + 1)); echo "ok      $*"; }
wrong() { ran=$((ran + 1)) bad=$((bad + 1)); echo "FAILED  $*"; }

# Runs a command in a folder of its own; its output and its status are the result.
result() {
    local library=$1 folder; folder=$(mktemp -d "$WORK/run.XXXX"); shift
    (cd "$folder"; status=0
     LD_PRELOAD=$library PYTHONMALLOC=malloc timeout "$PATIENCE" "$@" 2>&1 || status=$?
     echo "status $status")
    rm -rf "$folder"
}

# same NAME COMMAND…: with both libraries and without any.
same() {
    local name=$1 want got; shift
    want=$(result '' "$@")
    [[ $want == *'status 0' ]] || { wrong "$name: without the library: ${want:0:300}"; return; }
    for library in "$OURS" "$HARDENED"; do
        got=$(result "$library" "$@")
        if [[ $got != "$want" ]]; then
            wrong "$name with $library"; diff <(echo "$want") <(echo "$got") | head -n 10 || true; return
        fi
    done
    good "$name"
}

HERE=$PWD
if have python3 python3; then same python3 python3 "$HERE/programs/work.py"; fi
if have sqlite3 sqlite3; then same sqlite3 sqlite3 -init "$HERE/programs/work.sql" test.db .quit; fi
if have perl perl; then same perl perl "$HERE/programs/work.pl"; fi
if have node nodejs; then same node node "$HERE/programs/work.js"; fi
if have git git; then
    same git bash -c 'git init -q . && for i in $(seq 12); do seq $((i * 900)) >f$((i % 5)); git add . &&
        GIT_AUTHOR_DATE="$((1700000000 + i)) +0000" GIT_COMMITTER_DATE="$((1700000000 + i)) +0000" git -c user.name=a -c user.email=a@example.org commit -qm "c$i"; done
        git -c gc.auto=0 repack -qad && git fsck --no-progress && git log --stat --format="%H %s" && git diff HEAD~3 | sha256sum'
fi
if have gcc gcc; then
    same gcc bash -c "gcc -O2 -pthread -c '$HERE/programs/family.c' -o family.o && sha256sum family.o"
fi
if have gdb gdb && have gcc gcc; then
    gcc -O0 -g -pthread programs/family.c -o "$WORK/family-debug"
    same gdb gdb -nx -batch -ex 'info line main' -ex 'info types pthread' -ex 'info scope resizing' "$WORK/family-debug"
fi

# A server and its load generator on this machine's own network; a bounded number of requests.
redis() {
    local port=$((20000 + RANDOM % 20000)) server answer
    LD_PRELOAD=$1 redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$WORK" --io-threads 2 >"$WORK/redis.log" 2>&1 &
    server=$!
    for _ in $(seq 100); do redis-cli -p "$port" ping >/dev/null 2>&1 && break; sleep 0.1; done
    LD_PRELOAD=$1 timeout "$PATIENCE" redis-benchmark -p "$port" -n 5000 -c 10 -P 8 -d 300 -r 1000 -q \
        -t set,get,lpush,rpop,hset,zadd >/dev/null 2>&1 || echo "load failed"
    redis-cli -p "$port" flushall >/dev/null
    for i in $(seq 200); do echo "set key:$i $(printf '%0*d' $((i * 7)) "$i")"; echo "rpush list $i"; done |
        redis-cli -p "$port" >/dev/null
    answer=$(redis-cli -p "$port" eval "local s = 0 for _, k in ipairs(redis.call('keys', 'key:*')) do s = s + #redis.call('get', k) end return {s, redis.call('llen', 'list'), redis.call('dbsize')}" 0)
    redis-cli -p "$port" shutdown nosave >/dev/null 2>&1 || true
    wait "$server" || echo "server ended with $?"
    echo "$answer"
}
if have redis-server redis-server; then
    want=$(redis '') got=$(redis "$OURS") hard=$(redis "$HARDENED")
    if [[ -n $want && $want == "$got" && $want == "$hard" ]]; then good redis-server; else wrong "redis-server: '$want' '$got' '$hard'"; fi
fi

if have gcc gcc; then
    for program in family forks misuse; do gcc -O1 -w -pthread "programs/$program.c" -o "$WORK/$program"; done
    for library in "$OURS" "$HARDENED"; do
        variant=$([[ $library == "$OURS" ]] && echo plain || echo hardened)
        for program in family forks; do
            got=$(result "$library" "$WORK/$program")
            if [[ $got == *' 0 '*'status 0' ]]; then good "$program, $variant"; else wrong "$program, $variant: $got"; fi
        done
    done
    # What a program leaves is told at the end: this one leaves the three blocks of its beginning, and its output's buffer.
    got=$(HECTARE_LEAKS=1 LD_PRELOAD=$OURS "$WORK/misuse" 0 2>&1 >/dev/null) || true
    if [[ $got =~ ^hectare:\ [34]\ blocks ]]; then good "leaks"; else wrong "leaks: '$got'"; fi
    index=0
    for words in 'not noticed' 'free of what is no block' 'free inside a block' 'second free' 'second free' \
        'free of what is no block' 'free inside a large block' 'a freed block was written to' 'a freed block was written to'; do
        got=$(LD_PRELOAD=$HARDENED "$WORK/misuse" "$index" 2>&1) || true
        if [[ $got == *"$words"* ]]; then good "misuse $index: $words"; else wrong "misuse $index: '$got'"; fi
        index=$((index + 1))
    done
fi

echo "$ran programs and checks, $bad failed, $skipped skipped"
((ran > 0)) || exit 77
((bad == 0))
