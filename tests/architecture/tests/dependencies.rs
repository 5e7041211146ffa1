//! Do dependencies point one way, and do features bring what they say and nothing else?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each published crate may depend on within the workspace. A crate that is not listed may
/// not exist; tests and benchmarks may depend on all.
const ALLOWED: &[(&str, &[&str])] = &[
    ("potluck-core", &[]),
    ("potluck-runtime", &["potluck-core"]),
    ("potluck-memory", &["potluck-core"]),
    ("potluck-redis", &["potluck-core"]),
    ("potluck-schema", &["potluck-core"]),
    (
        "potluck-testkit",
        &["potluck-core", "potluck-memory", "potluck-runtime"],
    ),
    (
        "potluck",
        &[
            "potluck-core",
            "potluck-memory",
            "potluck-redis",
            "potluck-runtime",
        ],
    ),
    ("potluck-conformance", &["potluck-core", "potluck-runtime"]),
    (
        "potluck-cli",
        &["potluck", "potluck-conformance", "potluck-schema"],
    ),
];
const FREE: &[&str] = &[
    "potluck-architecture",
    "potluck-bench",
    "potluck-brokers",
    "potluck-examples",
    "potluck-faults",
    "potluck-interop",
    "potluck-original",
    "potluck-scenarios",
];

/// Crates that speak to a broker.
const CLIENTS: &[&str] = &["redis", "lapin", "rdkafka"];

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

#[test]
fn dependencies_point_one_way() {
    let metadata: Value = serde_json::from_str(&cargo(&[
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--locked",
    ]))
    .unwrap();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if FREE.contains(&name) {
            assert_eq!(
                package["publish"],
                serde_json::json!([]),
                "{name} is not to be published"
            );
            continue;
        }
        let allowed = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name}: say what it may depend on"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let outside = !on.starts_with("potluck");
            let for_tests = dependency["kind"] == "dev";
            assert!(
                outside || for_tests || allowed.contains(&on),
                "{name} depends on {on}"
            );
        }
    }
}

fn tree(args: &[&str]) -> BTreeSet<String> {
    let mut all = vec![
        "tree",
        "--locked",
        "--edges=normal,build",
        "--prefix=none",
        "--format={p}",
    ];
    all.extend(args);
    cargo(&all)
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn without_features_no_broker_client_is_built() {
    let tree = tree(&["--package=potluck", "--no-default-features"]);
    for client in CLIENTS {
        assert!(
            !tree.contains(*client),
            "{client} is built without a feature"
        );
    }
}

#[test]
fn the_schema_validator_is_not_needed_at_run_time() {
    let tree = tree(&["--package=potluck"]);
    assert!(
        !tree.contains("jsonschema") && !tree.contains("clap"),
        "the facade needs neither"
    );
}

#[test]
fn the_default_build_needs_no_c_compiler() {
    let tree = tree(&["--package=potluck-cli"]);
    for crate_of_c in [
        "cc",
        "cmake",
        "openssl-sys",
        "aws-lc-sys",
        "ring",
        "rdkafka-sys",
    ] {
        assert!(
            !tree.contains(crate_of_c),
            "{crate_of_c} is in the default build"
        );
    }
}
