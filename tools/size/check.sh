#!/usr/bin/env bash
# The price of a heap on a microcontroller: code and state of SmallHeap (init, allocate, free, resize) on thumbv7em.
# Fails if a panic is linked in; says MISSED if a bound is exceeded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

TARGET=thumbv7em-none-eabi
TEXT_BOUND=${HECTARE_TEXT_BOUND:-1800}      # bytes
STATE_BOUND=${HECTARE_STATE_BOUND:-300}     # bytes
OUT=${CARGO_TARGET_DIR:-$PWD/target}/size
BINARY=$OUT/$TARGET/release/hectare-size

# llvm-nm of the distribution, of rustup's llvm-tools, or the cross binutils.
find_nm() {
    local nm
    for nm in llvm-nm "$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-nm" arm-none-eabi-nm; do
        ! command -v "$nm" >/dev/null || { echo "$nm"; return; }
    done
    return 1
}

rustup target list --installed 2>/dev/null | grep -qx "$TARGET" || timeout 300 rustup target add "$TARGET" ||
    { echo "SKIPPED: no standard library for $TARGET can be added"; exit 77; }
NM=$(find_nm) || { timeout 300 rustup component add llvm-tools && NM=$(find_nm); } ||
    { echo "SKIPPED: no nm for $TARGET can be installed"; exit 77; }

# Builds the binary; prints the panic functions that are linked in. The functions of the binary itself stay out.
panics() {
    cargo build --quiet --release --target "$TARGET" --target-dir "$OUT" "$@"
    "$NM" -C "$BINARY" | grep -E 'core::(panicking|option::(unwrap|expect)_failed|result::unwrap_failed|slice::index|slice::.*copy_from_slice)' || true
}

# The check must be able to fail.
[[ -n $(panics --features panic) ]] || { echo "FAILED: the check does not find a panic that is there"; exit 1; }
found=$(panics)
if [[ -n $found ]]; then
    echo "$found"
    echo "FAILED: panics are linked in"
    exit 1
fi

# Sizes in decimal: of every function but the entry and the panic handler, by symbol; of the state.
text=$("$NM" --print-size --radix=d "$BINARY" | awk '$3 ~ /^[tT]$/ && $4 != "_start" { sum += $2 } END { print sum + 0 }')
state=$("$NM" --print-size --radix=d "$BINARY" | awk '$4 == "HECTARE_HEAP" { print $2 + 0 }')
verdict() { (($1 <= $2)) && echo "within $2" || echo "MISSED the bound of $2"; }
echo "text:  $text bytes, $(verdict "$text" "$TEXT_BOUND")"
echo "state: $state bytes, $(verdict "$state" "$STATE_BOUND")"
echo "panics: none"
