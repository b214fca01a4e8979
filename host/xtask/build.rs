//! Ends the build of this program with one line if the compiler is too old for the project. `rust-version` in this crate's manifest would
//! make cargo end it without a remedy.

#[path = "src/rust_version.rs"]
mod rust_version;

use std::env::var_os;
use std::fs::read_to_string;
use std::process::Command;

/// Manifest of the workspace, from this crate's folder, in which cargo runs this program.
const MANIFEST: &str = "../../Cargo.toml";

fn main() {
    println!("cargo::rerun-if-changed={MANIFEST}");
    let rustc = var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map_or_else(|_| Vec::new(), |output| output.stdout);
    let manifest = read_to_string(MANIFEST).unwrap_or_default();
    if let Some(complaint) = rust_version::complaint(&String::from_utf8_lossy(&version), &manifest) {
        println!("cargo::error={complaint}");
    }
}
