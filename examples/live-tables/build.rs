//! The machine's linker script, and the fault that is planted, if any: `HECTARE_PLANT`.
fn main() {
    let variable = |name| std::env::var(name).expect("cargo sets it");
    let (folder, arch) = (variable("CARGO_MANIFEST_DIR"), variable("CARGO_CFG_TARGET_ARCH"));
    let script = match arch.as_str() {
        "riscv32" | "riscv64" => "link/riscv.ld",
        "aarch64" => "../kernel/link/aarch64.ld",
        _ => "../kernel/link/x86_64.ld",
    };
    println!("cargo:rustc-link-arg=-T{folder}/{script}");
    println!("cargo:rustc-link-arg=-no-pie");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-env-changed=HECTARE_PLANT");
    if let Ok(plant) = std::env::var("HECTARE_PLANT") {
        println!("cargo:rustc-cfg=hectare_plant=\"{plant}\"");
    }
}
