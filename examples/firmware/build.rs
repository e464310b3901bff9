//! The linker script of the machine: `HECTARE_LINK`, a file beside this one.
fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let script = std::env::var("HECTARE_LINK").unwrap_or_else(|_| "mps2.ld".into());
    println!("cargo:rustc-link-arg=-T{folder}/{script}");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-env-changed=HECTARE_LINK");
}
