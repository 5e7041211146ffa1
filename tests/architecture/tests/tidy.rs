//! Is every file short, about one question that it states, and free of what we do not allow?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::path::{Path, PathBuf};
use std::{fs, process::Command};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files that git knows or would know, below the root, with this ending.
fn files(ending: &str) -> Vec<(String, String)> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root())
        .output()
        .expect("git runs");
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    let files: Vec<_> = names
        .split_terminator('\0')
        .filter(|name| name.ends_with(ending))
        .filter_map(|name| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?)))
        .collect();
    assert!(!files.is_empty(), "no {ending} files found");
    files
}

#[test]
fn every_file_states_its_question_and_is_short() {
    for (name, text) in files(".rs") {
        assert!(
            text.starts_with("//!"),
            "{name}: begin with a `//!` line that says which question it answers"
        );
        let lines = text.lines().count();
        assert!(
            lines <= 500,
            "{name}: {lines} lines; does it still answer one question?"
        );
    }
}

#[test]
fn lines_fit_a_page() {
    for (name, text) in files(".rs") {
        for (at, line) in text.lines().enumerate() {
            // rustfmt leaves long texts alone; so do we where breaking one would hide it, and a
            // table's row cannot be broken.
            let length = line.chars().count();
            let whole = line.contains('"') || line.starts_with("//! |");
            assert!(
                length <= 100 || whole,
                "{name}:{}: {length} columns",
                at + 1
            );
        }
    }
}

#[test]
fn nothing_is_skipped_in_silence() {
    let forbidden = ["#[ignore", "allow(warnings", "unsafe {"];
    for (name, text) in files(".rs")
        .into_iter()
        .filter(|(name, _)| !name.ends_with("tidy.rs"))
    {
        for word in forbidden {
            assert!(!text.contains(word), "{name}: `{word}` is not allowed");
        }
    }
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    for ending in [".rs", ".toml", ".md", ".sh", ".py", "Makefile"] {
        for (name, text) in files(ending)
            .into_iter()
            .filter(|(name, _)| !name.ends_with("tidy.rs"))
        {
            for path in ["/root/", "/work/", "/home/"] {
                assert!(
                    !text.contains(path),
                    "{name}: `{path}` is a path of one machine"
                );
            }
        }
    }
}

#[test]
fn manifests_take_versions_from_the_root() {
    for (name, text) in files("Cargo.toml") {
        // The root itself, and the crate that stands for one elsewhere.
        if name == "Cargo.toml" || name.starts_with("tests/conformance/outside/") {
            continue;
        }
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{name}: lints come from the workspace"
        );
        for line in text.lines().filter(|line| line.starts_with("version")) {
            assert_eq!(line, "version.workspace = true", "{name}");
        }
    }
}

#[test]
fn links_in_prose_lead_somewhere() {
    for (name, text) in files(".md") {
        let folder = root()
            .join(&name)
            .parent()
            .expect("a file is in a folder")
            .to_owned();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap_or(link);
            if !path.is_empty() && !link.contains("://") {
                assert!(folder.join(path).exists(), "{name}: {link} leads nowhere");
            }
        }
    }
}
