//! Do the schema commands write what is committed, see drift, and hold a change to its version?

#![allow(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod common;

use std::fs;

use common::{file, run};
use serde_json::{Value, json};

#[test]
fn export_writes_what_check_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/v1");
    let path = path.to_str().unwrap();
    let exported = run(&["schema", "export", path]);
    assert_eq!((exported.code, exported.stderr.as_str()), (Some(0), ""));
    let files: Vec<_> = exported.stdout.lines().collect();
    assert_eq!(
        files,
        [
            format!("{path}/event.schema.json"),
            format!("{path}/event.producer.schema.json")
        ]
    );
    let checked = run(&["schema", "check", path]);
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(0), ""));

    let drifted = fs::read_to_string(files[0])
        .unwrap()
        .replacen("\n", "\n\n", 3);
    fs::write(files[0], drifted).unwrap();
    fs::remove_file(files[1]).unwrap();
    let checked = run(&["schema", "check", path]);
    assert_eq!(checked.code, Some(1));
    let errors: Vec<_> = checked.stderr.lines().collect();
    assert!(
        errors[0].contains("differs from the types, from line 2 on"),
        "{errors:?}"
    );
    assert!(
        errors[1].contains("no such file") && errors[1].contains("schema export"),
        "{errors:?}"
    );
}

#[test]
fn export_to_where_nothing_can_be_written_is_an_error() {
    let (_dir, path) = file("file", "");
    let ran = run(&["schema", "export", &path]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.starts_with("error: cannot write"),
        "{}",
        ran.stderr
    );
}

#[test]
fn diff_holds_a_change_to_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    run(&["schema", "export", path]);
    let old = format!("{path}/event.schema.json");
    let mut schema: Value = serde_json::from_slice(&fs::read(&old).unwrap()).unwrap();
    schema["properties"]["price"] = json!({ "type": ["number", "null"] });
    let (_a, same_version) = file("new.json", schema.to_string());
    schema["$id"] = json!("urn:potluck:event:1.0.1:consumer");
    let (_b, patch) = file("new.json", schema.to_string());

    let ran = run(&["schema", "diff", &old, &patch]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let expected = json!({
        "old": "1.0.0", "new": "1.0.1", "declared": "patch", "needed": "patch", "enough": true,
        "changes": [{ "path": "/price", "what": "added, optional", "bump": "patch" }],
    });
    assert_eq!(
        serde_json::from_str::<Value>(&ran.stdout).unwrap(),
        expected
    );

    let ran = run(&["schema", "diff", &old, &same_version]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("the change needs a patch version"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("\"enough\":false"));
    assert_eq!(run(&["schema", "diff", &patch, &old]).code, Some(65));
}

#[test]
fn what_is_no_schema_is_bad_data() {
    let (_a, no_json) = file("a.json", "{\"canary");
    let (_b, no_id) = file("b.json", "{}");
    let (_c, list) = file("c.json", "[]");
    for (old, new, code) in [
        (&no_json, &no_id, 65),
        (&no_id, &no_id, 65),
        (&list, &list, 65),
        (&"/no/such".to_owned(), &no_id, 1),
    ] {
        let ran = run(&["schema", "diff", old, new]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{old}");
        assert!(
            ran.stderr.starts_with("error: ") && !ran.stderr.contains("canary"),
            "{}",
            ran.stderr
        );
    }
}
