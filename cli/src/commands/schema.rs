//! `potluck schema`: what is the contract's JSON Schema, has it drifted, what does a change need?

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use potluck_schema::Diff;
use serde_json::{Value, json};

use crate::args::Schema;
use crate::exit::{Exit, Run, Stop};
use crate::files;
use crate::output::{self, Talk};

/// The largest schema file that is read.
const SCHEMA_MAX: usize = 16 * 1024 * 1024;

pub(crate) fn run(command: &Schema, talk: Talk) -> Run {
    match command {
        Schema::Export { dir } => export(dir),
        Schema::Check { dir } => check(dir, talk),
        Schema::Diff { old, new } => diff(old, new, talk),
    }
}

fn export(dir: &Path) -> Run {
    let failed = |path: &Path, error: &io::Error| {
        let text = format!(
            "cannot write {}: {error}; name a directory that can be written",
            path.display()
        );
        Stop::failed(Exit::Failed, text)
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    let mut out = output::for_programs();
    for (name, text) in potluck_schema::files() {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, &error))?;
        writeln!(out, "{}", path.display()).map_err(|error| Stop::at_output(&error))?;
    }
    out.flush().map_err(|error| Stop::at_output(&error))?;
    Ok(Exit::Ok)
}

fn check(dir: &Path, talk: Talk) -> Run {
    let mut drifted = 0;
    for (name, expected) in potluck_schema::files() {
        let path = dir.join(name);
        let problem = match files::read(&path, SCHEMA_MAX) {
            Err(text) => text,
            Ok(found) if found == expected.as_bytes() => continue,
            Ok(found) => format!(
                "{} differs from the types, from line {} on",
                path.display(),
                first_difference(&found, &expected)
            ),
        };
        output::error(format_args!(
            "{problem}; `potluck schema export {}` writes it anew",
            dir.display()
        ));
        drifted += 1;
    }
    if drifted > 0 {
        return Ok(Exit::Failed);
    }
    talk.note(format_args!(
        "the schemas in {} are those of the types",
        dir.display()
    ));
    Ok(Exit::Ok)
}

/// The first line, from 1, that is not the same.
fn first_difference(found: &[u8], expected: &str) -> usize {
    let found = found.split(|byte| *byte == b'\n');
    let same = found
        .zip(expected.as_bytes().split(|byte| *byte == b'\n'))
        .take_while(|(a, b)| a == b);
    1 + same.count()
}

fn diff(old: &Path, new: &Path, talk: Talk) -> Run {
    let diff = potluck_schema::diff(&read_schema(old)?, &read_schema(new)?)?;
    let mut out = output::for_programs();
    let written = if output::people_read() {
        write_for_people(&mut out, &diff)
    } else {
        writeln!(out, "{}", for_programs(&diff))
    };
    written
        .and_then(|()| out.flush())
        .map_err(|error| Stop::at_output(&error))?;
    if !diff.is_enough() {
        return Err(Stop::failed(
            Exit::Failed,
            format!(
                "the change needs a {} version, but {} to {} is a {} one; raise the version in the new schema's $id",
                diff.needed,
                diff.old,
                diff.new,
                word(&diff)
            ),
        ));
    }
    talk.note(format_args!(
        "{} to {} is enough: the change needs {}",
        diff.old, diff.new, diff.needed
    ));
    Ok(Exit::Ok)
}

fn word(diff: &Diff) -> &'static str {
    diff.declared.as_str()
}

fn read_schema(path: &Path) -> Result<Value, Stop> {
    let text = files::read(path, SCHEMA_MAX).map_err(|text| Stop::failed(Exit::Failed, text))?;
    serde_json::from_slice(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Stop::failed(
            Exit::BadData,
            format!(
                "{} is not JSON at line {line}, column {column}; name a JSON Schema",
                path.display()
            ),
        )
    })
}

fn write_for_people(out: &mut impl Write, diff: &Diff) -> io::Result<()> {
    for change in &diff.changes {
        writeln!(
            out,
            "{:<5}  {}  {}",
            change.bump.as_str(),
            shown(&change.path),
            change.what
        )?;
    }
    writeln!(
        out,
        "{} to {}: declared {}, needed {}",
        diff.old, diff.new, diff.declared, diff.needed
    )
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// One line. Documented and stable.
fn for_programs(diff: &Diff) -> Value {
    let changes = diff.changes.iter().map(
        |change| json!({ "path": change.path, "what": change.what, "bump": change.bump.as_str() }),
    );
    json!({
        "old": diff.old.to_string(),
        "new": diff.new.to_string(),
        "declared": diff.declared.as_str(),
        "needed": diff.needed.as_str(),
        "enough": diff.is_enough(),
        "changes": changes.collect::<Vec<_>>(),
    })
}
