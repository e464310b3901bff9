#!/usr/bin/env bash
# Builds the firmware for each machine, boots it in QEMU, and expects `test result: ok`; then once more with each planted
# fault, and expects `test result: FAILED`. Prints what is linked into each image and compares it with sizes.txt (with
# --sizes it is written there). Exit status 77: something to run it with is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/firmware

#   machine | target | linker script | features | QEMU
MACHINES='
Cortex-M0  | thumbv6m-none-eabi          | microbit.ld    | -          | arm -M microbit
Cortex-M3  | thumbv7m-none-eabi          | mps2.ld        | protection | arm -M mps2-an385
Cortex-M4  | thumbv7em-none-eabi         | mps2.ld        | protection | arm -M mps2-an386
Cortex-M33 | thumbv8m.main-none-eabi     | mps2-secure.ld | pmsa8      | arm -M mps2-an505
RV32       | riscv32imac-unknown-none-elf | virt.ld       | protection | riscv32 -M virt
RV64       | riscv64gc-unknown-none-elf  | virt.ld        | protection | riscv64 -M virt
'
# Planted faults, and what only machines with a protection unit can tell.
PLANTS='
firmware_leak        | -
firmware_wide_region | protection
read_for_write       | protection
'

missing() { printf 'SKIPPED: %s\n' "$*"; exit 77; }

for program in qemu-system-arm qemu-system-riscv32; do
    command -v "$program" >/dev/null && continue
    { (( EUID == 0 )) && command -v apt-get >/dev/null; } || missing "$program is missing, and only root can install it"
    { apt-get update && apt-get install -y --no-install-recommends qemu-system-arm qemu-system-misc qemu-system-data; } \
        >/dev/null 2>&1 || missing "$program cannot be installed"
done

# size_of of the distribution, of rustup's llvm-tools, or none.
find_size() {
    local size
    for size in llvm-size "$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-size"; do
        ! command -v "$size" >/dev/null || { echo "$size"; return; }
    done
    return 1
}
SIZE=$(find_size) || { timeout 300 rustup component add llvm-tools >/dev/null 2>&1 && SIZE=$(find_size); } || SIZE=''

# Boots one machine: boot TARGET QEMU…
boot() {
    local image=$CARGO_TARGET_DIR/$1/release/hectare-firmware family=$2
    shift 2
    local ends=(-serial stdio -bios none -m 64M)
    [[ $family != arm ]] || ends=(-serial null -semihosting-config "enable=on,target=native")
    timeout 60 "qemu-system-$family" "$@" "${ends[@]}" -display none -monitor none -kernel "$image" </dev/null 2>&1
}

# Sections of an image: name, then .text with constants and vectors, .data, .bss in bytes.
sizes() {
    "$SIZE" -A -d "$2" | awk -v name="$1" '
        $1 ~ /^\.(vectors|text|rodata)/ { text += $2 }
        $1 ~ /^\.s?data/ { data += $2 }
        $1 ~ /^\.s?bss/ { bss += $2 }
        END { printf "%-10s %6d %6d %6d\n", name, text, data, bss }'
}

bad=0
table=$(printf '%-10s %6s %6s %6s' machine .text .data .bss)

# one PLANT NEEDS: every machine that has what is needed.
each_machine() {
    local plant=$1 needs=$2 machine target script features qemu output status verdict expected=0 text='test result: ok'
    [[ -z $plant ]] || { expected=1 text='test result: FAILED'; export HECTARE_PLANT=$plant; }
    while IFS='|' read -r machine target script features qemu; do
        read -r machine target script features <<<"$machine $target $script $features"
        [[ -n $machine ]] || continue
        [[ $needs == - || $features != - ]] || continue
        rustup target list --installed | grep -qx "$target" || rustup target add "$target" >/dev/null 2>&1 ||
            missing "the target $target cannot be added"
        HECTARE_LINK=$script cargo build --quiet --release --target "$target" --features "${features/-/}"
        read -ra qemu <<<"$qemu"
        status=0 verdict=ok
        output=$(boot "$target" "${qemu[@]}") || status=$?
        [[ $status == "$expected" ]] && grep -qFx "$text" <<<"$output" || { verdict=WRONG bad=1; tail -n 20 <<<"$output"; }
        printf '%-10s %-26s %-5s %s\n' "$machine" "${plant:+plant $plant}" "$verdict" \
            "$(grep -oE '^probes: .*' <<<"$output" || true)"
        [[ -n $plant || -z $SIZE ]] ||
            table+=$'\n'$(sizes "$machine" "$CARGO_TARGET_DIR/$target/release/hectare-firmware")
    done <<<"$MACHINES"
    unset HECTARE_PLANT
}

each_machine '' -
printf '%s\n' "$table"
if [[ -z $SIZE ]]; then
    echo 'in part SKIPPED: no llvm-size for the table of sizes'
elif [[ ${1-} == --sizes ]]; then
    printf '%s\n' "$table" >sizes.txt
else
    # Another compiler may differ a little.
    awk 'NR == FNR { for (i = 2; i <= 4; i++) kept[$1, i] = $i; next }
         FNR > 1 { for (i = 2; i <= 4; i++) if ($i > kept[$1, i] * 1.05 + 64) { print $1 " grew: " $i " bytes, kept " kept[$1, i]; bad = 1 } }
         END { exit bad }' sizes.txt <(printf '%s\n' "$table") || bad=1
fi
while IFS='|' read -r plant needs; do
    read -r plant needs <<<"$plant $needs"
    [[ -z $plant ]] || each_machine "$plant" "$needs"
done <<<"$PLANTS"
exit "$bad"
