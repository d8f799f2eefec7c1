//! What the workspace consists of, asked from `cargo metadata`, and which of its files a module depends on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cargo;

/// The part of `cargo metadata --no-deps` that is needed here.
#[derive(Deserialize)]
pub struct Workspace {
    workspace_root: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    /// `dev`, `build`, or nothing for a normal dependency.
    kind: Option<String>,
    /// Set for the dependencies that lie in the workspace.
    path: Option<PathBuf>,
}

impl Workspace {
    /// The workspace that the package in `manifest_dir` belongs to.
    pub fn load(manifest_dir: &Path) -> Result<Self> {
        let output = Command::new(cargo::executable())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(manifest_dir)
            .output()
            .context("cannot run `cargo metadata`")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("`cargo metadata` answered something unexpected")
    }

    pub fn root(&self) -> &Path {
        &self.workspace_root
    }

    /// Everything whose change may change the modules: sources and manifests of the packages and of the workspace
    /// packages below them, the root manifest (profile, versions) and the lock file.
    pub fn inputs(&self, packages: &[&str]) -> Result<BTreeSet<PathBuf>> {
        let mut inputs =
            BTreeSet::from([self.workspace_root.join("Cargo.toml"), self.workspace_root.join("Cargo.lock")]);
        for directory in self.directories(packages)? {
            inputs.insert(directory.join("Cargo.toml"));
            inputs.insert(directory.join("src"));
            let script = directory.join("build.rs");
            if script.exists() {
                inputs.insert(script);
            }
        }
        Ok(inputs)
    }

    /// The directories of `packages` and of all that they need from the workspace, tests aside.
    fn directories(&self, packages: &[&str]) -> Result<BTreeSet<PathBuf>> {
        let by_directory: BTreeMap<&Path, &Package> =
            self.packages.iter().filter_map(|package| Some((package.manifest_path.parent()?, package))).collect();
        let mut open = packages.iter().map(|name| self.directory_of(name)).collect::<Result<Vec<_>>>()?;
        let mut seen = BTreeSet::new();
        while let Some(directory) = open.pop() {
            if let Some(package) = by_directory.get(directory.as_path())
                && seen.insert(directory)
            {
                let needed = package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
                open.extend(needed.filter_map(|dependency| dependency.path.clone()));
            }
        }
        Ok(seen)
    }

    fn directory_of(&self, name: &str) -> Result<PathBuf> {
        self.packages
            .iter()
            .find(|package| package.name == name)
            .and_then(|package| package.manifest_path.parent())
            .map(Path::to_path_buf)
            .with_context(|| format!("no package {name} in the workspace {}", self.workspace_root.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Workspace {
        let package = |name: &str, dependencies: &str| {
            format!(r#"{{"name":"{name}","manifest_path":"/ws/{name}/Cargo.toml","dependencies":[{dependencies}]}}"#)
        };
        let on = |name: &str, kind: &str| format!(r#"{{"kind":{kind},"path":"/ws/{name}"}}"#);
        let registry = r#"{"kind":null}"#.to_owned();
        let packages = [
            package("actor", &[on("core", "null"), on("tests", r#""dev""#), registry].join(",")),
            package("core", &on("macros", r#""build""#)),
            package("macros", &on("core", r#""dev""#)),
            package("tests", ""),
        ];
        serde_json::from_str(&format!(r#"{{"workspace_root":"/ws","packages":[{}]}}"#, packages.join(","))).unwrap()
    }

    #[test]
    fn a_module_depends_on_what_it_is_made_of_but_not_on_tests() {
        let directories = workspace().directories(&["actor"]).unwrap();
        assert_eq!(directories, ["/ws/actor", "/ws/core", "/ws/macros"].map(PathBuf::from).into());
        let inputs = workspace().inputs(&["tests"]).unwrap();
        let expected = ["/ws/Cargo.lock", "/ws/Cargo.toml", "/ws/tests/Cargo.toml", "/ws/tests/src"];
        assert_eq!(inputs, expected.map(PathBuf::from).into());
    }

    #[test]
    fn an_unknown_package_is_named() {
        let error = workspace().inputs(&["aktor"]).unwrap_err().to_string();
        assert_eq!(error, "no package aktor in the workspace /ws");
    }
}
