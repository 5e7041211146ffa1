//! Can an author elsewhere test a transport with one line and no list of cases to copy?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::fs;
use std::path::Path;
use std::process::Command;

use potluck_conformance::cases;

/// What the crate's manifest calls the workspace.
const WORKSPACE: &str = "../../../";

/// Copies the crate to where it has the workspace's lock beside it, so that it builds without a
/// network and with what is already here.
fn copy(crate_dir: &Path, to: &Path) {
    let workspace = crate_dir.join(WORKSPACE).canonicalize().unwrap();
    for part in ["src", "tests"] {
        let _ = fs::remove_dir_all(to.join(part));
        fs::create_dir_all(to.join(part)).unwrap();
        for file in fs::read_dir(crate_dir.join(part)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(part).join(file.file_name())).unwrap();
        }
    }
    // A literal string, in which a backslash is a backslash.
    let at = |path: &str| format!("path = '{}'", workspace.join(path).display());
    let manifest: Vec<String> = fs::read_to_string(crate_dir.join("Cargo.toml"))
        .unwrap()
        .lines()
        .map(|line| match line.split_once("path = \"") {
            Some((before, rest)) => {
                let (path, after) = rest.split_once('"').unwrap();
                let path = match path.strip_prefix(WORKSPACE) {
                    Some(path) => at(path),
                    None => at(&format!("tests/conformance/outside/{path}")),
                };
                format!("{before}{path}{after}")
            }
            None => line.to_owned(),
        })
        .collect();
    fs::write(to.join("Cargo.toml"), manifest.join("\n")).unwrap();
    fs::copy(workspace.join("Cargo.lock"), to.join("Cargo.lock")).unwrap();
}

/// The number before a word of the suite's last line.
fn number(summary: &str, word: &str) -> usize {
    let before = summary.split(&format!(" {word}")).next().unwrap();
    before.split(' ').next_back().unwrap().parse().unwrap()
}

#[test]
fn a_crate_elsewhere_runs_every_case_with_one_line() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("outside");
    let there = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    copy(&here, &there);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--offline", "--test", "conformance"])
        .arg("--manifest-path")
        .arg(there.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", there.join("target"))
        // It offers nothing that could be broken, so some cases must not be required.
        .env_remove("CONFORMANCE_REQUIRED")
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let all = cases::all().count();
    assert!(
        stdout.contains(&format!("running {all} tests\n")),
        "{stdout}"
    );
    let summary = stdout
        .lines()
        .rfind(|line| line.starts_with("test result: ok"));
    let summary = summary.unwrap();
    let (passed, ignored) = (number(summary, "passed"), number(summary, "ignored"));
    assert_eq!(passed + ignored, all, "{summary}");
    let unbroken = cases::all().filter(|case| case.needs.is_none()).count();
    assert_eq!(passed, unbroken, "{summary}");
}
