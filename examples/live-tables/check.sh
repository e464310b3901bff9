#!/usr/bin/env bash
# Builds the program for each machine, boots it in QEMU, and expects `test result: ok` and the status that says so; then
# once more with each planted fault, which must be told by these words. Exit status 77: something to run it with is
# missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/live-tables

# rustup has no bare-metal target for x86 of 32 bits; the one for Linux serves, with another linker and no library.
I386='-C linker=rust-lld -C linker-flavor=ld.lld -C link-self-contained=no -C relocation-model=static -C target-feature=+crt-static'
#   machine | target | status of success | flags of the compiler | QEMU
# A triple fault ends x86 QEMU with status 0, so that success is another status there.
MACHINES="
x86_64  | x86_64-unknown-none          | 33 | -C relocation-model=static | x86_64 -M q35 -cpu max,la57=off -nodefaults -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x04
la57    | x86_64-unknown-none          | 33 | -C relocation-model=static | x86_64 -M q35 -cpu max -nodefaults -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x04
i386    | i686-unknown-linux-gnu       | 33 | $I386                      | i386 -M q35 -cpu max -nodefaults -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x04
riscv64 | riscv64gc-unknown-none-elf   | 0  |                            | riscv64 -M virt -cpu rv64,svnapot=on,svpbmt=on -bios none
riscv32 | riscv32imac-unknown-none-elf | 0  |                            | riscv32 -M virt -bios none
aarch64 | aarch64-unknown-none         | 0  |                            | aarch64 -M virt -cpu max -semihosting-config enable=on,target=native
"
#   planted fault | machine that tells | what it says
PLANTS='
live_no_flush       | riscv32 | does not hold: an access goes as the model says
live_no_reload      | i386    | does not hold: an access goes as the model says
live_lost_neighbour | x86_64  | does not hold: an access goes as the model says
live_harvest_unpaid | riscv32 | does not hold: a page that was read or written is reported so
'
SECONDS_OF_BOOT=120

missing() { printf 'SKIPPED: %s\n' "$*"; exit 77; }

for program in qemu-system-x86_64 qemu-system-i386 qemu-system-aarch64 qemu-system-riscv64 qemu-system-riscv32; do
    command -v "$program" >/dev/null && continue
    { (( EUID == 0 )) && command -v apt-get >/dev/null; } || missing "$program is missing, and only root can install it"
    { apt-get update && apt-get install -y --no-install-recommends qemu-system-x86 qemu-system-arm qemu-system-misc \
        qemu-system-data; } >/dev/null 2>&1 || missing "$program cannot be installed"
done

# run PLANT MACHINES WORDS: builds and boots these, and says of each whether it went as it must.
bad=0
run() {
    local plant=$1 wanted=$2 words=$3 machine target success flags qemu output status good verdict start
    [[ -z $plant ]] || export HECTARE_PLANT=$plant
    while IFS='|' read -r machine target success flags qemu; do
        read -r machine target success <<<"$machine $target $success"
        [[ -n $machine && " $wanted " == *" $machine "* ]] || continue
        rustup target list --installed | grep -qx "$target" || rustup target add "$target" >/dev/null 2>&1 ||
            missing "the target $target cannot be added"
        RUSTFLAGS=$flags cargo build --quiet --release --target "$target"
        read -ra qemu <<<"$qemu"
        status=0 good=1 start=$EPOCHREALTIME
        output=$(timeout "$SECONDS_OF_BOOT" "qemu-system-${qemu[0]}" "${qemu[@]:1}" -accel tcg \
            -m "$([[ $machine == aarch64 ]] && echo 2G || echo 64M)" -display none -serial stdio -monitor none \
            -kernel "$CARGO_TARGET_DIR/$target/release/hectare-live-tables" </dev/null 2>&1) || status=$?
        if [[ -z $plant ]]; then
            [[ $status == "$success" ]] && grep -qFx 'test result: ok' <<<"$output" || good=0
        else
            [[ $status != "$success" ]] && grep -qFx "$words" <<<"$output" || good=0
        fi
        verdict=ok
        [[ $good == 1 ]] || { verdict=WRONG bad=1; tail -n 30 <<<"$output"; }
        printf '%-8s %-26s %-5s %s.%s s  %s\n' "$machine" "${plant:+plant $plant}" "$verdict" \
            $(((${EPOCHREALTIME/./} - ${start/./}) / 1000000)) $(((${EPOCHREALTIME/./} - ${start/./}) / 100000 % 10)) \
            "$(grep -aoE '[0-9]+ checks hold, [0-9]+ do not|does not hold: .*|panicked at .*' <<<"$output" | head -n 1 || true)"
        sed -n 's/^not on this CPU: /in part SKIPPED: this QEMU has no /p' <<<"$output"
        [[ -n $plant ]] || sed -n '/ bits: /s/^/    /p' <<<"$output"
    done <<<"$MACHINES"
    unset HECTARE_PLANT
}

run '' 'x86_64 la57 i386 riscv64 riscv32 aarch64' ''
while IFS='|' read -r plant machines words; do
    read -r plant <<<"$plant"
    [[ -z $plant ]] || run "$plant" "$machines" "${words# }"
done <<<"$PLANTS"
exit "$bad"
