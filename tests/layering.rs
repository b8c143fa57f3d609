//! The architecture as a test: data flows down the pipeline, so a module uses only what stands
//! above it.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom of the crate to its top. A module may use those before it.
const LAYERS: [&str; 36] = [
    "error",
    "fingerprint",
    "ir",
    "program",
    "tangent",
    "display",
    "parallel",
    "simplify",
    "params",
    "batch",
    "samples",
    "mode",
    "noise",
    "model_state",
    "capture",
    "expand",
    "gradient",
    "linearize",
    "gauss_newton",
    "batching",
    "row_space",
    "lane_programs",
    "verify",
    "compiled",
    "operator",
    "forward",
    "batching_check",
    "op_support",
    "solver",
    "statistics",
    "spectrum",
    "estimator",
    "stability",
    "observe",
    "plot",
    "train",
];

/// Modules that stand outside: the crate's face.
const FACE: [&str; 2] = ["lib", "prelude"];

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// The module right below the crate's root that a file belongs to.
fn module_of(src: &Path, file: &Path) -> String {
    let relative = file.strip_prefix(src).unwrap().with_extension("");
    relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned()
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut violations = Vec::new();
    let mut uses = 0;
    for file in source_files(&src) {
        let module = module_of(&src, &file);
        if FACE.contains(&module.as_str()) {
            continue;
        }
        let layer = |name: &str| LAYERS.iter().position(|l| *l == name);
        let own = layer(&module).unwrap_or_else(|| panic!("{module} has no layer"));
        for line in fs::read_to_string(&file).unwrap().lines() {
            let code = line.trim_start();
            if code.starts_with("//") {
                continue;
            }
            for used in code.split("crate::").skip(1) {
                let name: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // `crate::Error` and other names of the face are types, not layers.
                let Some(other) = layer(&name) else { continue };
                uses += 1;
                if other > own {
                    violations.push(format!("{} uses {name}: {code}", file.display()));
                }
            }
        }
    }
    assert!(uses > 60, "found {uses} uses only: does the test still read the sources?");
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn files_stay_small() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let long: Vec<_> = source_files(&src)
        .into_iter()
        .filter(|file| fs::read_to_string(file).unwrap().lines().count() > 500)
        .collect();
    assert!(long.is_empty(), "longer than 500 lines: {long:?}");
}
