//! Compiles actor crates of this workspace to wasm, from a build script.
//!
//! ```no_run
//! // build.rs
//! wasm_builder::build(&["bucket-actor"]);
//! ```
//! leaves `$OUT_DIR/bucket_actor.wasm`, to be taken in by
//! `include_bytes!(concat!(env!("OUT_DIR"), "/bucket_actor.wasm"))`.
//!
//! Four things are worth knowing.
//! - **The flags are consensus.** A module is known on the chain by the hash of its bytes, so everything that changes
//!   the bytes is fixed here (`FLAGS` in `src/cargo.rs`) and in `[profile.wasm]` of the root `Cargo.toml`: not in a
//!   developer's environment, not in a configuration file, and not by where the checkout lies.
//! - **One target directory,** `<workspace>/target/wasm`, serves every outer profile: `cargo clippy`, `cargo test` and
//!   `cargo build --release` find the same artefacts instead of building their own.
//! - **A module has to fit one block of the FVM,** 1,048,576 bytes, and a test of `bucket-actor-wasm` keeps some of it free.
//!   What takes the room is seen in a build with `strip = false` and `-Clink-arg=--emit-relocs`, whose relocations tell which
//!   function refers to which, vtables included. What was found so far: `collect` into a `BTreeMap` or `BTreeSet` sorts, with 4 to
//!   19 kB for each type of entries; an `anyhow::Error` brings backtraces (38 kB), parsing floats tables (18 kB), and what
//!   prints an `Address` Blake2b (14 kB); generic code that is written once is there once for each type.
//! - **A module that compiles may still be refused** by the FVM's engine. `bucket-devnet check-wasm FILE` is the check.

mod cargo;
mod workspace;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Builds each package for wasm32 and copies `<package>.wasm`, dashes turned into underscores, to `OUT_DIR`.
///
/// Returns the copies, in the order of `packages`. It is made for build scripts: what goes wrong is printed in one
/// line, and the process ends with status 1.
pub fn build(packages: &[&str]) -> Vec<PathBuf> {
    try_build(packages).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        process::exit(1)
    })
}

fn try_build(packages: &[&str]) -> Result<Vec<PathBuf>> {
    let out_dir = directory("OUT_DIR")?;
    let workspace = Workspace::load(&directory("CARGO_MANIFEST_DIR")?)?;
    for path in workspace.inputs(packages)? {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    cargo::ensure_target_installed()?;
    packages.iter().map(|package| copy(package, &cargo::compile(workspace.root(), package)?, &out_dir)).collect()
}

fn copy(package: &str, artefacts: &Path, out_dir: &Path) -> Result<PathBuf> {
    let file = format!("{}.wasm", package.replace('-', "_"));
    let from = artefacts.join(&file);
    if !from.is_file() {
        bail!("{package} left no {}: its [lib] must have crate-type = [\"cdylib\"]", from.display());
    }
    let to = out_dir.join(&file);
    fs::copy(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(to)
}

fn directory(variable: &str) -> Result<PathBuf> {
    let value = env::var_os(variable)
        .with_context(|| format!("{variable} is not set: this library is to be called from a build script"))?;
    Ok(PathBuf::from(value))
}
