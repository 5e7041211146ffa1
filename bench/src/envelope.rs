//! What do parsing, checking, building and patching an event cost beside serde_json alone?

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use potluck_core::envelope::{
    Confidence, FreeFood, FreeFoodEvent, Payload, Received, Text, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rounds::{Contender, Line, Report, Result, Sample, Target, turns};

const ROUNDS: usize = 15;
const CALLS: u32 = 20_000;

type Work = Box<dyn FnMut()>;

/// The contract's sample, 640 bytes with white space as Python's `json.dumps` leaves it.
const SAMPLE: &str = r#"{"schema_version": "1.0.0", "event_id": "b5f5c8f4-52f1-4b68-a2a1-7757b71a4df0", "title": "Free Pizza Night", "description": "Join us in the CS building for free pizza and drinks.", "location": "CS Building, Room 150", "start_time": "2025-11-02T18:00:00Z", "source": "umass-calendar", "llm_confidence": 0.93, "reason": "LLM detected 'free', 'pizza', 'food' in description.", "type": "FREE_FOOD_EVENT", "published_at": "2025-11-02T14:03:22.123456Z", "retries": 0, "metadata": {"organizer": "ACM", "raw_source_id": "cal-2025-11-02-1234"}}"#;

/// The event as somebody would write it who has serde_json and no contract.
#[derive(Serialize, Deserialize)]
struct Plain {
    schema_version: String,
    event_id: String,
    title: String,
    description: Option<String>,
    location: Option<String>,
    start_time: Option<DateTime<Utc>>,
    source: String,
    llm_confidence: Option<f64>,
    reason: Option<String>,
    r#type: String,
    published_at: DateTime<Utc>,
    retries: u32,
    metadata: Map<String, Value>,
}

/// The same with times left as text, so that chrono's parser does not flatter us.
#[derive(Deserialize)]
#[allow(dead_code)]
struct PlainText {
    schema_version: String,
    event_id: String,
    title: String,
    description: Option<String>,
    location: Option<String>,
    start_time: Option<String>,
    source: String,
    llm_confidence: Option<f64>,
    reason: Option<String>,
    r#type: String,
    published_at: String,
    retries: u32,
    metadata: Map<String, Value>,
}

pub(crate) fn run() -> Result<Report> {
    let bytes = Bytes::from_static(SAMPLE.as_bytes());
    let mut report = Report::default();
    for (name, target, contenders) in [parse(&bytes)?, build()?, patch(&bytes)?] {
        let (names, mut works): (Vec<_>, Vec<Work>) = contenders.into_iter().unzip();
        let samples = measure(&mut works);
        let mut contenders: Vec<_> = names.into_iter().map(Contender::free).collect();
        if let Some(ours) = contenders.last_mut() {
            ours.target = target;
        }
        let line = Line {
            name,
            unit: "ns/call",
            contenders,
        };
        report.add(line, samples);
    }
    Ok(report)
}

fn measure(works: &mut [Work]) -> Vec<Vec<Sample>> {
    let mut samples = vec![Vec::with_capacity(ROUNDS); works.len()];
    // The first round warms caches and branch predictors.
    for round in 0..=ROUNDS {
        for at in turns(round, works.len()) {
            let started = Instant::now();
            for _ in 0..CALLS {
                works[at]();
            }
            if round > 0 {
                let figure = started.elapsed().as_nanos() as f64 / f64::from(CALLS);
                samples[at].push(Sample { figure, cpu: None });
            }
        }
    }
    samples
}

/// A line's name and target, and its contenders.
type Comparison = (&'static str, Option<Target>, Vec<(&'static str, Work)>);

fn work(name: &'static str, work: impl FnMut() + 'static) -> (&'static str, Work) {
    (name, Box::new(work))
}

fn parse(bytes: &Bytes) -> Result<Comparison> {
    Received::<FreeFood>::parse(bytes.clone())?;
    let schema = schemars::schema_for!(FreeFoodEvent).to_value();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)?;
    let (text, plain, detour, scan, ours) = (
        bytes.clone(),
        bytes.clone(),
        bytes.clone(),
        bytes.clone(),
        bytes.clone(),
    );
    Ok((
        "parse and check",
        Some(Target::AtMost(1.3)),
        vec![
            work("serde_json, typed, chrono times", move || {
                black_box(serde_json::from_slice::<Plain>(&plain).ok());
            }),
            work("serde_json, typed, times as text", move || {
                black_box(serde_json::from_slice::<PlainText>(&text).ok());
            }),
            work("Value + jsonschema + typed", move || {
                let value: Option<Value> = serde_json::from_slice(&detour).ok();
                let valid = value.filter(|value| validator.is_valid(value));
                black_box(valid.and_then(|value| serde_json::from_value::<Plain>(value).ok()));
            }),
            work("potluck: Payload::check alone", move || {
                black_box(Payload::check(scan.clone()).ok());
            }),
            work("potluck: Received::parse", move || {
                black_box(Received::<FreeFood>::parse(ours.clone()).ok());
            }),
        ],
    ))
}

fn build() -> Result<Comparison> {
    let plain: Plain = serde_json::from_str(SAMPLE)?;
    let body = FreeFood {
        title: Text::new(plain.title.clone())?,
        description: plain.description.clone(),
        location: plain.location.clone(),
        start_time: plain.start_time.map(Timestamp::new).transpose()?,
        llm_confidence: plain.llm_confidence.map(Confidence::new).transpose()?,
        reason: plain.reason.clone(),
    };
    let metadata = plain.metadata.clone();
    let event = FreeFoodEvent::builder(body.clone())
        .event_id(plain.event_id.clone())?
        .source("umass-calendar")?
        .metadata(metadata.clone())
        .build();
    Ok((
        "encode",
        None,
        vec![
            work("serde_json, typed, chrono times", move || {
                black_box(serde_json::to_vec(&plain).ok());
            }),
            work("potluck: build and to_message", move || {
                let built = FreeFoodEvent::builder(body.clone())
                    .metadata(metadata.clone())
                    .build();
                black_box(built.to_message().ok());
            }),
            work("potluck: to_json", move || {
                black_box(event.to_json().ok());
            }),
        ],
    ))
}

fn patch(bytes: &Bytes) -> Result<Comparison> {
    let payload = Payload::check(bytes.clone())?;
    let through_value = bytes.clone();
    Ok((
        "re-publish after a failure",
        None,
        vec![
            work("Value, changed and written again", move || {
                let mut value: Value = serde_json::from_slice(&through_value).unwrap_or_default();
                value["retries"] = (value["retries"].as_u64().unwrap_or(0) + 1).into();
                value["metadata"]["last_error"] = "no seats left".into();
                black_box(serde_json::to_vec(&value).ok());
            }),
            work("potluck: after_failure", move || {
                black_box(payload.after_failure(1, "no seats left").ok());
            }),
        ],
    ))
}
