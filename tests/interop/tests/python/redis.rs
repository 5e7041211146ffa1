//! Do the original's services and ours understand each other over a real Redis server?

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use potluck::envelope::{FreeFood, Payload, Received};
use potluck::{Group, Message, Subscription, Topic, Transport};
use potluck_brokers::redis::{RedisOptions, RedisServer};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::emitted;
use crate::venv::{self, Venv};

const COUNT: usize = 300;
const SLICE: usize = 64;
const WAIT: Duration = Duration::from_secs(10);

type Done<T = ()> = Result<T, String>;

/// redis-py reads and validates what we publish, byte for byte.
pub(crate) fn python_reads(venv: &Venv) -> Done {
    let bus = Bus::start(venv)?;
    let sent = lines(&emitted::lines()?);
    bus.publish("events.ours", &sent)?;
    let read = bus.python("read", "events.ours", sent.len(), None)?;
    same(&sent, &read)
}

/// We consume and validate what redis-py publishes, byte for byte.
pub(crate) fn python_publishes(venv: &Venv) -> Done {
    let bus = Bus::start(venv)?;
    let sent = bus.python("publish", "events.theirs", COUNT, None)?;
    let consumed = bus.consume("events.theirs", COUNT)?;
    same(&sent, &consumed)?;
    for (n, payload) in consumed.iter().enumerate() {
        let event = received(payload)?;
        if event.event_id.as_str() != format!("py-{n}") || event.retries != 0 {
            return Err(format!("event {n} is another"));
        }
        let nulls = value(payload)?["description"].is_null();
        if nulls != event.body.description.is_none() {
            return Err(format!("event {n}: a null is not nothing"));
        }
    }
    Ok(())
}

/// What fails there comes back with its `retries` and `last_error`; what fails here goes back and
/// is validated by their model.
pub(crate) fn failures_go_round(venv: &Venv) -> Done {
    let bus = Bus::start(venv)?;
    let few = |line: &Vec<u8>| received(line).is_ok_and(|event| event.retries < 1_000_000);
    let sent: Vec<_> = lines(&emitted::lines()?).into_iter().filter(few).collect();
    if sent.len() < COUNT {
        return Err(format!("only {} events have room for failures", sent.len()));
    }
    bus.publish("events.first", &sent)?;
    bus.python("fail", "events.first", sent.len(), Some("events.second"))?;

    let theirs = bus.consume("events.second", sent.len())?;
    let mut ours = Vec::new();
    for (n, (before, after)) in sent.iter().zip(&theirs).enumerate() {
        let error = format!("no seats left ☕ {n}");
        check_failure(before, after, 1, &error).map_err(|why| format!("theirs, {n}: {why}"))?;
        let payload = Payload::check(after.clone()).map_err(|error| error.to_string())?;
        let again = payload.after_failure(2, "no plates left");
        ours.push(again.map_err(|error| error.to_string())?.to_vec());
    }
    bus.publish("events.third", &ours)?;
    let read = bus.python("read", "events.third", ours.len(), None)?;
    same(&ours, &read)?;
    for (n, (before, after)) in theirs.iter().zip(&read).enumerate() {
        check_failure(before, after, 2, "no plates left")
            .map_err(|why| format!("ours, {n}: {why}"))?;
    }
    Ok(())
}

/// Nothing but `retries` and `metadata.last_error` may differ.
fn check_failure(before: &[u8], after: &[u8], failures: u32, last_error: &str) -> Done {
    let event = received(after)?;
    if event.retries != received(before)?.retries + failures {
        return Err(format!("retries is {}", event.retries));
    }
    if event.metadata.get("last_error").and_then(Value::as_str) != Some(last_error) {
        return Err("another last_error".to_owned());
    }
    let (mut before, mut after) = (value(before)?, value(after)?);
    for event in [&mut before, &mut after] {
        event["retries"] = Value::Null;
        event["metadata"]["last_error"] = Value::Null;
    }
    if before == after {
        Ok(())
    } else {
        Err("more than the failure has changed".to_owned())
    }
}

/// A server, our connection to it, and a Python beside it.
struct Bus<'a> {
    venv: &'a Venv,
    server: RedisServer,
    transport: Arc<dyn Transport>,
    runtime: Runtime,
}

impl<'a> Bus<'a> {
    fn start(venv: &'a Venv) -> Done<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let (server, transport) = runtime.block_on(async {
            let server = RedisServer::start(RedisOptions::default()).await;
            let server = server.map_err(|error| error.to_string())?;
            let transport = potluck::connect(&server.url()).map_err(|error| error.to_string())?;
            Ok::<_, String>((server, transport))
        })?;
        Ok(Self {
            venv,
            server,
            transport,
            runtime,
        })
    }

    /// Runs the Python side; gives the payloads that it published or read.
    fn python(
        &self,
        verb: &str,
        stream: &str,
        count: usize,
        to: Option<&str>,
    ) -> Done<Vec<Vec<u8>>> {
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{stream}.{verb}"));
        let mut command = self.venv.script("redis_client.py");
        command
            .args([verb, &self.server.url(), stream, &count.to_string()])
            .arg(&out)
            .args(to);
        venv::run(&mut command)?;
        let text = std::fs::read(&out).map_err(|error| error.to_string())?;
        Ok(lines(&text))
    }

    fn publish(&self, topic: &str, payloads: &[Vec<u8>]) -> Done {
        self.runtime.block_on(async {
            let topic = Topic::new(topic).map_err(text)?;
            let publisher = self.transport.publisher().await.map_err(text)?;
            for slice in payloads.chunks(SLICE) {
                let messages: Vec<_> = slice.iter().map(|one| message(one)).collect::<Done<_>>()?;
                let stored = publisher.publish(&topic, &messages, WAIT).await;
                stored.map_err(|error| error.to_string())?;
            }
            Ok(())
        })
    }

    /// Consumes and acknowledges exactly so many.
    fn consume(&self, topic: &str, count: usize) -> Done<Vec<Vec<u8>>> {
        self.runtime.block_on(async {
            let (topic, group) = (
                Topic::new(topic).map_err(text)?,
                Group::new("ours").map_err(text)?,
            );
            let to = Subscription::new(topic.clone(), group.clone());
            let subscriber = self.transport.subscriber(&to).await.map_err(text)?;
            let slice = NonZeroUsize::new(SLICE).unwrap_or(NonZeroUsize::MIN);
            let mut consumed = Vec::new();
            while consumed.len() < count {
                let deliveries = subscriber.receive(slice, WAIT).await.map_err(text)?;
                if deliveries.is_empty() {
                    return Err(format!("{} messages of {count}", consumed.len()));
                }
                let receipts: Vec<_> = deliveries.iter().map(|one| one.receipt).collect();
                let settled = subscriber.ack(&receipts).await.map_err(text)?;
                if !settled.stale.is_empty() {
                    return Err("acknowledged too late".to_owned());
                }
                for one in &deliveries {
                    if one.attempt != 1 || one.defect.is_some() || !one.message.headers().is_empty()
                    {
                        return Err(format!("{}: not as it was published", one.id));
                    }
                    consumed.push(one.message.body().to_vec());
                }
            }
            let status = self.transport.status(&topic, &group).await.map_err(text)?;
            match (
                consumed.len(),
                status.backlog.value(),
                status.in_flight.value(),
            ) {
                (all, Some(0), Some(0)) if all == count => Ok(consumed),
                other => Err(format!("consumed, backlog, in flight: {other:?}")),
            }
        })
    }
}

fn text(error: potluck::Error) -> String {
    error.to_string()
}

/// With the headers that the envelope layer sets.
fn message(payload: &[u8]) -> Done<Message> {
    let event_id = received(payload)?.event_id.to_string();
    let message = Message::new(payload.to_vec()).with_header("content-type", "application/json");
    let message = message.map_err(text)?;
    if event_id.len() > 255 {
        return Ok(message);
    }
    message.with_header("message-id", event_id).map_err(text)
}

fn received(payload: &[u8]) -> Done<Received<FreeFood>> {
    Received::parse(payload.to_vec()).map_err(|error| error.to_string())
}

fn value(payload: &[u8]) -> Done<Value> {
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec())
        .collect()
}

fn same(sent: &[Vec<u8>], read: &[Vec<u8>]) -> Done {
    if sent.len() != read.len() {
        return Err(format!("{} were sent, {} read", sent.len(), read.len()));
    }
    match sent.iter().zip(read).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(n) => Err(format!("message {n} is not the same, byte for byte")),
    }
}
