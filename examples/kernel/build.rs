//! The architecture's linker script, and the fault that is planted, if any: `HECTARE_PLANT`.
fn main() {
    let variable = |name| std::env::var(name).expect("cargo sets it");
    let (folder, arch) = (variable("CARGO_MANIFEST_DIR"), variable("CARGO_CFG_TARGET_ARCH"));
    println!("cargo:rustc-link-arg=-T{folder}/link/{arch}.ld");
    println!("cargo:rustc-link-arg=-no-pie");
    println!("cargo:rerun-if-changed=link");
    println!("cargo:rerun-if-env-changed=HECTARE_PLANT");
    if let Ok(plant) = std::env::var("HECTARE_PLANT") {
        println!("cargo:rustc-cfg=hectare_plant=\"{plant}\"");
    }
}
