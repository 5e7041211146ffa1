//! Are the committed schema files what the Rust types say?

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Writes the files anew.
const COMMAND: &str = "cargo run -p potluck-cli -- schema export schema/v1.0.0";

#[test]
fn the_committed_files_are_the_generated_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("v1.0.0");
    let files = potluck_schema::files();
    for (name, generated) in &files {
        let committed = fs::read_to_string(folder.join(name))
            .unwrap_or_else(|error| panic!("schema/v1.0.0/{name}: {error}; run\n  {COMMAND}"));
        let differs = committed
            .lines()
            .zip(generated.lines())
            .find(|(a, b)| a != b);
        assert!(
            committed == *generated,
            "schema/v1.0.0/{name} is not what the types say (first: {differs:?}).\n\
             A change of the contract needs a new version; for wording alone, run\n  {COMMAND}"
        );
    }
    let there: BTreeSet<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let named = files.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, named, "the files in schema/v1.0.0");
}
