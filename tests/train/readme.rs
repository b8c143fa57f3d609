//! The README's lines are those that the documentation of the module compiles.

use std::fs;
use std::path::Path;

#[test]
fn the_readme_shows_the_code_of_the_module() {
    let read =
        |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let (readme, module) = (read("README.md"), read("src/train/mod.rs"));
    let start = readme.find("let monitor = SharpnessMonitorConfig::new(8)").unwrap();
    let block = &readme[start..][..readme[start..].find("```").unwrap()];
    assert!((5..20).contains(&block.lines().count()));
    for line in block.lines() {
        assert!(module.lines().any(|of| of.strip_prefix("//! ") == Some(line)), "{line}");
    }
}
