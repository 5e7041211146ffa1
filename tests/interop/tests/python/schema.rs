//! Do the committed schemas give the same verdicts in Python, and does the original's model take
//! what we emit?

use std::path::Path;

use crate::emitted;
use crate::venv::Venv;

pub(crate) fn agrees(venv: &Venv) -> Result<(), String> {
    let events = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emitted.jsonl");
    std::fs::write(&events, emitted::lines()?).map_err(|error| error.to_string())?;
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema");
    let output = venv
        .script("check_schema.py")
        .arg(schemas.join("v1.0.0/event.schema.json"))
        .arg(schemas.join("v1.0.0/event.producer.schema.json"))
        .arg(schemas.join("samples"))
        .arg(&events)
        .output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        println!("{}", said.trim_end());
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{said}{errors}"))
}
