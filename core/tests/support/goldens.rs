//! Runs every transcript of a folder.

use std::path::Path;

/// Each file in this folder below `tests`, in a world of its own.
pub fn run_all<World: goldenscript::Runner + Default>(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        goldenscript::run(&mut World::default(), file).unwrap();
    }
}
