//! One round trip of a publish: the commands, and what the server says of each message.

use std::time::Duration;

use potluck_core::{Error, ErrorKind, Message, Outcome, Topic};
use redis::{Cmd, Pipeline, Value};

use crate::config::Config;
use crate::entry;
use crate::error::{self, Failure, Remedy};
use crate::link::Live;

/// How long replicas may take to receive a message, when some must.
const REPLICAS_WITHIN: Duration = Duration::from_secs(1);

/// What the server said of one message.
#[derive(Clone)]
pub(crate) enum Answer {
    Outcome(Outcome),
    /// Not stored, because this is no server that serves for now: it is sent to one that does.
    NotServing(Error),
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Outcome(outcome) => outcome,
            Answer::NotServing(error) => Self::Refused(error),
        }
    }
}

/// One round trip with these messages, in order. One answer for each.
pub(crate) async fn send(
    live: &Live,
    config: &Config,
    slices: &[(&Topic, &[Message])],
) -> Vec<Answer> {
    let count = slices.iter().map(|(_, messages)| messages.len()).sum();
    let mut pipeline = Pipeline::with_capacity(count + 1);
    for (topic, messages) in slices {
        for message in *messages {
            pipeline.add_command(entry::xadd(topic.as_str(), &config.field, message));
        }
    }
    let replicas = config.min_replicas;
    if replicas > 0 {
        pipeline.add_command(wait_for(replicas));
    }
    let mut values = match live.send("publish", &pipeline).await {
        Ok(values) => values,
        // Never written.
        Err(failure) if failure.certain => return vec![refusal(failure); count],
        Err(failure) => return vec![Answer::Outcome(Outcome::Unknown(failure.error)); count],
    };
    let received = if replicas > 0 { values.pop() } else { None };
    let short =
        received.is_some_and(|n| !matches!(n, Value::Int(n) if n.cast_unsigned() >= replicas));
    let mut answers: Vec<_> = values
        .into_iter()
        .map(|value| answer(value, live, short))
        .collect();
    answers.resize(
        count,
        Answer::Outcome(Outcome::Unknown(error::shape("publish"))),
    );
    answers
}

fn wait_for(replicas: u64) -> Cmd {
    let mut wait = redis::cmd("WAIT");
    wait.arg(replicas)
        .arg(u64::try_from(REPLICAS_WITHIN.as_millis()).unwrap_or(u64::MAX));
    wait
}

/// What a value says of one message; `short` when too few replicas have received it.
fn answer(value: Value, live: &Live, short: bool) -> Answer {
    match error::reply("publish", value) {
        Ok(value) => Answer::Outcome(match entry::id(&value) {
            Some(_) if short => Outcome::Unknown(Error::new(
                ErrorKind::Unavailable,
                "publish",
                "stored by the primary, but received by fewer replicas than `min_replicas=` in time",
            )),
            Some(id) => Outcome::Stored(id),
            None => Outcome::Unknown(error::shape("publish")),
        }),
        Err(failure) => {
            live.note(&failure);
            refusal(failure)
        }
    }
}

/// What a failure says of a message that is certainly not stored.
fn refusal(failure: Failure) -> Answer {
    match failure.remedy {
        Remedy::Redial if failure.error.is_retryable() => Answer::NotServing(failure.error),
        _ => Answer::Outcome(Outcome::Refused(failure.error)),
    }
}

/// Whether the server has taken none of these, because it is not one that serves for now.
pub(crate) fn is_not_serving(answers: &[Answer]) -> bool {
    answers
        .iter()
        .all(|answer| matches!(answer, Answer::NotServing(_)))
}
