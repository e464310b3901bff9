//! The machine's linker script, and the fault that is planted, if any: `HECTARE_LINK`, `HECTARE_PLANT`.
fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let script = std::env::var("HECTARE_LINK").unwrap_or_else(|_| "mps2.ld".into());
    println!("cargo:rustc-link-arg=-T{folder}/link/{script}");
    println!("cargo:rustc-link-search={folder}/link");
    println!("cargo:rerun-if-changed=link");
    println!("cargo:rerun-if-env-changed=HECTARE_LINK");
    println!("cargo:rerun-if-env-changed=HECTARE_PLANT");
    if let Ok(plant) = std::env::var("HECTARE_PLANT") {
        println!("cargo:rustc-cfg=hectare_plant=\"{plant}\"");
    }
}
