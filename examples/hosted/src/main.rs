//! Prints the tour. `cargo run -p hectare-example-hosted`
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut text = String::new();
    let outcome = hectare_example_hosted::tour(&mut text);
    print!("{text}");
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}
