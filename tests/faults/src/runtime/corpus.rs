//! What is the worst that a topic can hold, and why is each a dead letter? The schema's samples,
//! and records that break the limits.

use std::path::Path;

use serde_json::Value;

use super::Foreign;
use crate::Result;

/// A mebibyte, the most that a body may have.
const BODY_MAX: usize = 1024 * 1024;
/// What no log may show: payloads are nobody's to print.
pub const CANARY: &str = "canary-7f3a";

/// A record, and the reason for which it is a dead letter.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// Where it comes from.
    pub name: String,
    /// The record.
    pub record: Foreign,
    /// `potluck-reason`.
    pub reason: &'static str,
}

impl Hostile {
    fn new(name: &str, record: Foreign, reason: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            record,
            reason,
        }
    }
}

/// The schema's samples that a consumer must refuse.
///
/// # Errors
///
/// When they cannot be read.
pub fn samples() -> Result<Vec<Hostile>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/samples"));
    let verdicts: Value = serde_json::from_slice(&std::fs::read(folder.join("verdicts.json"))?)?;
    let mut all = Vec::new();
    for verdict in verdicts.as_array().ok_or("the verdicts are a list")? {
        if verdict["consumer"] == true {
            continue;
        }
        let name = verdict["file"].as_str().ok_or("a verdict has a file")?;
        let body = std::fs::read(folder.join(name))?;
        let reason = if verdict["malformed"] == true {
            "malformed"
        } else {
            reason(&body)?
        };
        all.push(Hostile::new(name, Foreign::body(body), reason));
    }
    Ok(all)
}

/// Why a well-formed sample is refused, in the order of the checks: a type and a version, then the
/// type's handler, then all the rest. An independent reading of the contract.
fn reason(body: &[u8]) -> Result<&'static str> {
    let event: Value = serde_json::from_slice(body)?;
    let Some(kind) = event.get("type").and_then(Value::as_str) else {
        return Ok("invalid");
    };
    let Some(version) = event.get("schema_version") else {
        return Ok("invalid");
    };
    if !version.as_str().is_some_and(is_version) {
        return Ok("bad_version");
    }
    if kind != "FREE_FOOD_EVENT" {
        return Ok("unregistered_type");
    }
    Ok("invalid")
}

/// Three numbers of up to nine digits, without leading zeros.
fn is_version(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    let is_number = |part: &&str| {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        digits && (1..=9).contains(&part.len()) && (*part == "0" || !part.starts_with('0'))
    };
    parts.len() == 3 && parts.iter().all(is_number)
}

fn good_body() -> Vec<u8> {
    format!(
        r#"{{"schema_version":"1.0.0","event_id":"x","title":"{CANARY}","source":"s",
        "type":"FREE_FOOD_EVENT","published_at":"2025-11-02T14:03:22Z","retries":0,"metadata":{{}}}}"#
    )
    .into_bytes()
}

/// What no sample can be, because of its size or because it is no body.
#[must_use]
pub fn beyond_limits() -> Vec<Hostile> {
    let headers = |headers: Vec<(Vec<u8>, Vec<u8>)>| Foreign {
        headers,
        ..Foreign::body(good_body())
    };
    let numbered = |n: usize| (format!("x-{n}").into_bytes(), b"v".to_vec());
    let mut pit = vec![b'['; 100_000];
    pit.resize(200_000, b']');
    let mut commas = b"{\"a\":[".to_vec();
    commas.extend(b"0,".repeat(BODY_MAX));
    let escape = format!("\u{1b}[2J\r\n{CANARY}\u{7}");
    let wrong = good_body();
    let wrong = String::from_utf8_lossy(&wrong).replace("\"retries\":0", "\"retries\":\"RED\"");
    let wrong = wrong.replace("RED", &format!("\\u001b[31m{CANARY}\\r\\n"));
    vec![
        Hostile::new("no body", Foreign::default(), "malformed"),
        Hostile::new("an empty body", Foreign::body(""), "malformed"),
        Hostile::new(
            "10,000 headers",
            headers((0..10_000).map(numbered).collect()),
            "malformed",
        ),
        Hostile::new(
            "9 KiB of headers",
            headers(vec![(b"x-big".to_vec(), vec![b'v'; 9 * 1024])]),
            "malformed",
        ),
        Hostile::new(
            "a key of 2 KiB",
            Foreign {
                key: Some(vec![b'k'; 2048]),
                ..Foreign::body(good_body())
            },
            "malformed",
        ),
        Hostile::new("depth 100,000", Foreign::body(pit), "malformed"),
        Hostile::new("2 MiB of numbers", Foreign::body(commas), "too_large"),
        Hostile::new(
            "1 MiB and a byte",
            Foreign::body(vec![b' '; BODY_MAX + 1]),
            "too_large",
        ),
        Hostile::new("terminal escapes", Foreign::body(escape), "malformed"),
        Hostile::new(
            "terminal escapes in a field",
            Foreign::body(wrong),
            "invalid",
        ),
        Hostile::new(
            "terminal escapes in headers",
            Foreign {
                headers: vec![(b"x-\x1b[2J\r\n".to_vec(), b"\x1b[31m\r\n\xff\x00".to_vec())],
                ..Foreign::body("[]\u{1b}")
            },
            "malformed",
        ),
        Hostile::new(
            "headers that are ours to write",
            Foreign {
                headers: vec![
                    (b"potluck-attempts".to_vec(), b"-1".to_vec()),
                    (b"potluck-reason".to_vec(), b"rejected".to_vec()),
                    (b"potluck-origin-id".to_vec(), b"9-9".to_vec()),
                ],
                ..Foreign::body("{")
            },
            "malformed",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reason_is_there() {
        let mut all = samples().unwrap();
        all.extend(beyond_limits());
        assert!(all.len() > 350, "{}", all.len());
        let kinds = [
            "malformed",
            "invalid",
            "bad_version",
            "unregistered_type",
            "too_large",
        ];
        for reason in kinds {
            let count = all.iter().filter(|one| one.reason == reason).count();
            assert!(count >= 2, "{reason}: {count}");
        }
    }
}
