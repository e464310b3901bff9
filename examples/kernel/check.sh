#!/usr/bin/env bash
# Builds the kernel for each machine, boots it in QEMU with four CPUs, and expects `test result: ok` and the status that
# says so; then once more with each planted fault, which must not pass. Exit status 77: something to run it with is
# missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/kernel

#   machine | target | status of success | flags of the compiler | QEMU
# A triple fault ends x86 QEMU with status 0, so that success is another status there. QEMU 7.2 with a thread for each CPU
# can lose a message between x86 CPUs, so that one thread runs them in turns there.
MACHINES='
x86_64  | x86_64-unknown-none         | 33 | -C relocation-model=static | x86_64 -M q35 -accel tcg,thread=single -cpu max -nodefaults -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x04
aarch64 | aarch64-unknown-none        | 0  |                            | aarch64 -M virt -cpu max -semihosting-config enable=on,target=native
riscv64 | riscv64gc-unknown-none-elf  | 0  |                            | riscv64 -M virt -cpu rv64 -bios default
'
#   planted fault | machines that can tell
PLANTS='
kernel_leak        | aarch64
kernel_shared_slot | aarch64
kernel_wrong_right | x86_64 aarch64 riscv64
kernel_no_flush    | x86_64 aarch64 riscv64
kernel_local_flush | x86_64 aarch64
'
SECONDS_OF_BOOT=120

missing() { printf 'SKIPPED: %s\n' "$*"; exit 77; }

for program in qemu-system-x86_64 qemu-system-aarch64 qemu-system-riscv64; do
    command -v "$program" >/dev/null && continue
    { (( EUID == 0 )) && command -v apt-get >/dev/null; } || missing "$program is missing, and only root can install it"
    { apt-get update && apt-get install -y --no-install-recommends qemu-system-x86 qemu-system-arm qemu-system-misc \
        opensbi qemu-system-data; } >/dev/null 2>&1 || missing "$program cannot be installed"
done

# run PLANT MACHINES: builds and boots these, and says of each whether it went as it must.
bad=0
run() {
    local plant=$1 wanted=$2 machine target success flags qemu output status good verdict start
    [[ -z $plant ]] || export HECTARE_PLANT=$plant
    while IFS='|' read -r machine target success flags qemu; do
        read -r machine target success <<<"$machine $target $success"
        [[ -n $machine && " $wanted " == *" $machine "* ]] || continue
        rustup target list --installed | grep -qx "$target" || rustup target add "$target" >/dev/null 2>&1 ||
            missing "the target $target cannot be added"
        RUSTFLAGS=$flags cargo build --quiet --release --target "$target"
        read -ra qemu <<<"$qemu"
        status=0 good=1 start=$EPOCHREALTIME
        output=$(timeout "$SECONDS_OF_BOOT" "qemu-system-${qemu[0]}" "${qemu[@]:1}" -smp 4 -m 128M -display none \
            -serial stdio -monitor none -kernel "$CARGO_TARGET_DIR/$target/release/hectare-kernel" </dev/null 2>&1) || status=$?
        [[ $status == "$success" ]] && grep -qFx 'test result: ok' <<<"$output" || good=0
        verdict=ok
        if [[ -z $plant && $good == 0 ]] || [[ -n $plant && $good == 1 ]]; then
            verdict=WRONG bad=1
            tail -n 30 <<<"$output"
        fi
        printf '%-8s %-26s %-5s %s.%s s  %s\n' "$machine" "${plant:+plant $plant}" "$verdict" \
            $(((${EPOCHREALTIME/./} - ${start/./}) / 1000000)) $(((${EPOCHREALTIME/./} - ${start/./}) / 100000 % 10)) \
            "$(grep -aoE '[0-9]+ checks hold, [0-9]+ do not|does not hold: .*|panicked at .*' <<<"$output" | head -n 1 || true)"
    done <<<"$MACHINES"
    unset HECTARE_PLANT
}

run '' 'x86_64 aarch64 riscv64'
while IFS='|' read -r plant machines; do
    read -r plant <<<"$plant"
    [[ -z $plant ]] || run "$plant" "$machines"
done <<<"$PLANTS"
exit "$bad"
