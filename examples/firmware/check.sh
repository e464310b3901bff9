#!/usr/bin/env bash
# Builds the firmware for each machine, boots it in QEMU, and expects `test result: ok`; then once more with a planted
# fault, and expects `test result: FAILED`. Exit status 77: something to run it with is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/firmware

#   machine | target | linker script | features | QEMU
MACHINES='
Cortex-M3  | thumbv7m-none-eabi          | mps2.ld        |       | arm -M mps2-an385
Cortex-M4  | thumbv7em-none-eabi         | mps2.ld        |       | arm -M mps2-an386
Cortex-M33 | thumbv8m.main-none-eabi     | mps2-secure.ld | pmsa8 | arm -M mps2-an505
RV32       | riscv32imac-unknown-none-elf | virt.ld       |       | riscv32 -M virt
RV64       | riscv64gc-unknown-none-elf  | virt.ld        |       | riscv64 -M virt
'

missing() { printf 'SKIPPED: %s\n' "$*"; exit 77; }

for program in qemu-system-arm qemu-system-riscv32; do
    command -v "$program" >/dev/null && continue
    { (( EUID == 0 )) && command -v apt-get >/dev/null; } || missing "$program is missing, and only root can install it"
    { apt-get update && apt-get install -y --no-install-recommends qemu-system-arm qemu-system-misc qemu-system-data; } \
        >/dev/null 2>&1 || missing "$program cannot be installed"
done

# Boots one machine: boot FOLDER QEMU…
boot() {
    local image=$CARGO_TARGET_DIR/$1/release/hectare-firmware family=$2
    shift 2
    local ends=(-serial stdio -bios none -m 64M)
    [[ $family != arm ]] || ends=(-serial null -semihosting-config "enable=on,target=native")
    timeout 120 "qemu-system-$family" "$@" "${ends[@]}" -display none -monitor none -kernel "$image" </dev/null 2>&1 || true
}

bad=0
for plant in '' read_for_write; do
    expected='test result: ok' flags=''
    [[ -z $plant ]] || { expected='test result: FAILED' flags="--cfg hectare_plant=\"$plant\""; }
    while IFS='|' read -r machine target script features qemu; do
        read -r machine target script features <<<"$machine $target $script $features"
        [[ -n $machine ]] || continue
        rustup target list --installed | grep -qx "$target" || rustup target add "$target" >/dev/null 2>&1 ||
            missing "the target $target cannot be added"
        HECTARE_LINK=$script RUSTFLAGS=$flags cargo build --quiet --release --target "$target" --features "$features"
        read -ra qemu <<<"$qemu"
        output=$(boot "$target" "${qemu[@]}")
        verdict=ok
        grep -qF "$expected" <<<"$output" || { verdict=WRONG bad=1; tail -n 5 <<<"$output"; }
        printf '%-10s %-30s %-5s %s\n' "$machine" "${plant:+plant $plant}" "$verdict" "$(grep probes <<<"$output" || true)"
    done <<<"$MACHINES"
done
exit "$bad"
