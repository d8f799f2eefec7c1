//! The inner cargo: its flags, and an environment that holds nothing of the outer one's.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The only target that the FVM executes.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// `[profile.wasm]` in the root manifest.
const PROFILE: &str = "wasm";

/// Code generation for the FVM.
///
/// `target-cpu=mvp` keeps LLVM from emitting bulk memory instructions: the FVM's gas instrumentation refuses
/// `i32.const <negative>; memory.copy`. A stack of 192 KiB instead of 1 MiB saves about 340,000 gas per call, because the
/// FVM charges for the memory that a module starts with; the deepest values that are decoded need more than 64 KiB. Ed25519 multiplies 32-bit words: products of 64-bit words have 128
/// bits, which wasm puts together from four, and a signature would take about twice the gas.
pub const FLAGS: [&str; 5] = [
    "-Ctarget-cpu=mvp",
    "-Ctarget-feature=+sign-ext,+mutable-globals",
    "-Clink-arg=-zstack-size=196608",
    "--cfg=curve25519_dalek_bits=\"32\"",
    "--cfg=curve25519_dalek_backend=\"serial\"",
];

/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`, so that they may contain spaces.
const SEPARATOR: &str = "\u{1f}";

/// The cargo that runs this build script, else the one on the path.
pub fn executable() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Fails, saying what to do, when the standard library for wasm is missing.
pub fn ensure_target_installed() -> Result<()> {
    let directory = PathBuf::from(rustc(&["--print", "target-libdir", "--target", TARGET])?);
    let has_core = directory.read_dir().is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore-")))
    });
    if !has_core {
        bail!("rustc has no standard library for {TARGET}: get it with `rustup target add {TARGET}`");
    }
    Ok(())
}

/// Builds one package and returns the directory with its `.wasm` file.
///
/// One at a time, because cargo unites the features of packages that are built together: a module's bytes would depend
/// on its company.
pub fn compile(root: &Path, package: &str) -> Result<PathBuf> {
    let target_dir = root.join("target").join("wasm");
    let mut command = Command::new(executable());
    command.current_dir(root).args(["build", "--package", package, "--target", TARGET, "--profile", PROFILE]);
    command.arg("--target-dir").arg(&target_dir);
    if root.join("Cargo.lock").exists() {
        command.arg("--locked");
    }
    for (variable, _) in env::vars_os().filter(|(variable, value)| leaks(variable, value)) {
        command.env_remove(variable);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(root)?);
    // A configured build directory is the outer cargo's, which holds its lock until this script has ended.
    command.env("CARGO_BUILD_BUILD_DIR", &target_dir);

    let status = command.status().context("cannot run `cargo build`")?;
    if !status.success() {
        bail!("building {package} for {TARGET} failed ({status}); its messages are above");
    }
    Ok(target_dir.join(TARGET).join(PROFILE))
}

/// Whether a variable belongs to the outer build and would change the inner one, or make it build everything again.
fn leaks(variable: &OsStr, value: &OsStr) -> bool {
    let Some(variable) = variable.to_str() else { return false };
    match variable {
        "CARGO" | "CARGO_HOME" | "CARGO_MAKEFLAGS" | "CARGO_TERM_COLOR" => false,
        // A compiler cache may stay; others set themselves in its place and would check instead of build.
        "RUSTC_WRAPPER" => ["clippy", "rust-analyzer"].iter().any(|checker| value.to_string_lossy().contains(checker)),
        "RUSTFLAGS"
        | "RUSTDOCFLAGS"
        | "RUSTC_WORKSPACE_WRAPPER"
        | "RUSTC_LINKER"
        | "CLIPPY_ARGS"
        | "CLIPPY_CONF_DIR" => true,
        "TARGET" | "HOST" | "OUT_DIR" | "PROFILE" | "OPT_LEVEL" | "DEBUG" | "NUM_JOBS" => true,
        _ if variable.starts_with("CARGO_NET_") || variable.starts_with("CARGO_HTTP_") => false,
        _ if variable.starts_with("CARGO_REGISTR") || variable.starts_with("CARGO_SOURCE_") => false,
        _ => variable.starts_with("CARGO_"),
    }
}

/// [`FLAGS`], and fixed names for the directories that would otherwise stand in the module's panic messages.
fn flags(root: &Path) -> Result<OsString> {
    let mut flags: Vec<OsString> = FLAGS.iter().map(Into::into).collect();
    flags.push(remap(root, "/workspace"));
    let cargo_home = cargo_home()?;
    flags.push(remap(&cargo_home, "/cargo"));
    // Below it, a directory named after the registry, which a mirror calls otherwise.
    for registry in cargo_home.join("registry").join("src").read_dir().into_iter().flatten().flatten() {
        flags.push(remap(&registry.path(), "/cargo"));
    }
    // Where the component `rust-src` is installed, rustc writes its real place instead of the one of the release.
    let commit = rustc(&["-vV"])?.lines().find_map(|line| line.strip_prefix("commit-hash: ").map(str::to_owned));
    let sources = PathBuf::from(rustc(&["--print", "sysroot"])?).join("lib/rustlib/src/rust");
    flags.push(remap(&sources, &format!("/rustc/{}", commit.context("`rustc -vV` names no commit-hash")?)));
    Ok(flags.join(OsStr::new(SEPARATOR)))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(home));
    }
    Ok(env::home_dir().context("neither CARGO_HOME nor a home directory is known")?.join(".cargo"))
}

/// What the compiler says to `arguments`, without the trailing newline.
fn rustc(arguments: &[&str]) -> Result<String> {
    let executable = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&executable)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run `{}`", executable.to_string_lossy()))?;
    if !output.status.success() {
        bail!("`rustc {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaking(variables: &[(&str, &str)]) -> Vec<String> {
        let leaking = variables.iter().filter(|(variable, value)| leaks(variable.as_ref(), value.as_ref()));
        leaking.map(|(variable, _)| (*variable).to_owned()).collect()
    }

    #[test]
    fn what_changes_the_module_does_not_come_in() {
        let outer = [
            ("RUSTFLAGS", "-Ctarget-cpu=native"),
            ("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-cpu=native"),
            ("CARGO_BUILD_TARGET", "aarch64-unknown-linux-gnu"),
            ("CARGO_TARGET_DIR", "/elsewhere"),
            ("CARGO_PROFILE_WASM_OPT_LEVEL", "3"),
            ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-g"),
            ("CARGO_CFG_TARGET_OS", "linux"),
            ("RUSTC_WORKSPACE_WRAPPER", "/bin/clippy-driver"),
            ("RUSTC_WRAPPER", "/bin/clippy-driver"),
            ("OUT_DIR", "/out"),
        ];
        assert_eq!(leaking(&outer).len(), outer.len());
    }

    #[test]
    fn what_cargo_needs_stays() {
        let needed = [
            ("PATH", "/bin"),
            ("CARGO", "/bin/cargo"),
            ("CARGO_HOME", "/home/cargo"),
            ("CARGO_MAKEFLAGS", "--jobserver-auth=3,4"),
            ("CARGO_NET_OFFLINE", "true"),
            ("CARGO_HTTP_PROXY", "http://127.0.0.1:3128"),
            ("CARGO_REGISTRIES_OTHER_INDEX", "sparse+https://registry.example/"),
            ("RUSTC", "/bin/rustc"),
            ("RUSTC_WRAPPER", "/bin/sccache"),
            ("RUSTUP_TOOLCHAIN", "stable"),
        ];
        assert_eq!(leaking(&needed), [""; 0]);
    }

    #[test]
    fn directories_get_names_that_are_the_same_everywhere() {
        let flags = flags(Path::new("/some where")).unwrap().into_string().unwrap();
        let flags: Vec<_> = flags.split(SEPARATOR).collect();
        let (fixed, remaps) = flags.split_at(FLAGS.len());
        assert_eq!(fixed, FLAGS);
        assert_eq!(remaps[0], "--remap-path-prefix=/some where=/workspace");
        assert!(remaps.iter().all(|flag| flag.starts_with("--remap-path-prefix=")), "{flags:?}");
    }
}
