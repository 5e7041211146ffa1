//! What does the service take?

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use potluck::envelope::Confidence;
use potluck::{Group, Member, Topic, url};

use super::Layout;
use super::verbs::rule;
pub(crate) use super::verbs::{duration, group, member, topic};

/// Run the consumer service: handle free-food events until told to stop
///
/// Handles each FREE_FOOD_EVENT by a line in the log: ids, source, confidence and latency, never
/// what an event says. Warns of low confidence. What is malformed, invalid or of another type goes
/// to the group's dead-letter topic. The log is on standard error; at the end a report of what was
/// done goes to standard output.
///
/// Each option can be set by a variable of the environment, or of the file .env, in this order:
/// option, environment, .env, default. There POTLUCK_URL and REDIS_URL name the broker, too. While
/// the broker is away it waits.
///
/// The first Ctrl-C or SIGTERM drains: nothing more is received, what no handler has begun is given
/// back at once, and handlers finish within --drain-timeout. The second one cuts them off and gives
/// back what they had (exit code 130); a third one ends the process.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  potluck serve -u redis://localhost:6379 --log json")]
pub(crate) struct Serve {
    /// Where from [MQ_STREAM; default events.free-food]
    #[arg(value_name = "TOPIC", value_parser = topic)]
    pub(crate) topic: Option<Topic>,
    /// The group, whose members share the messages [MQ_GROUP; default mq-consumer]
    #[arg(short, long, value_name = "GROUP", value_parser = group)]
    pub(crate) group: Option<Group>,
    /// This member's name [MQ_NAME; by default one that nobody else has]
    #[arg(long, visible_alias = "member", value_name = "NAME", value_parser = member)]
    pub(crate) name: Option<Member>,
    /// How long one receive waits, such as 5s; a bare number is milliseconds [MQ_BLOCK; default
    /// 5000]
    #[arg(long, value_name = "DURATION", value_parser = block)]
    pub(crate) block: Option<Duration>,
    /// The most messages of one receive [MQ_COUNT; default 10]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<NonZeroUsize>,
    /// The most events that are handled at once [MQ_CONCURRENCY; default 16]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// How long handlers may take to finish once it is told to stop, such as 25s
    /// [MQ_DRAIN_TIMEOUT; default 25s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// Warn of events whose confidence is below this, from 0 to 1 [MQ_CONFIDENCE_THRESHOLD; default
    /// 0.5]
    #[arg(long, value_name = "NUMBER", value_parser = confidence)]
    pub(crate) confidence_threshold: Option<Confidence>,
    /// How the log is written [MQ_LOG; default text]
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) log: Option<LogForm>,
    /// The file of settings; without this .env in the working directory, if there is one
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// How to write the report; by default pretty on a terminal, else json
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Layout>,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// For people: time, level, what happened, and its fields
    Text,
    /// One JSON object a line
    Json,
}

/// A duration; a bare number is milliseconds, as the original has it.
pub(crate) fn block(text: &str) -> Result<Duration, String> {
    let bare = text.parse().map(Duration::from_millis);
    bare.or_else(|_| url::parse_duration(text).map_err(rule))
}

pub(crate) fn confidence(text: &str) -> Result<Confidence, String> {
    let number: Result<f64, _> = text.parse();
    let confidence = number.ok().and_then(|number| Confidence::new(number).ok());
    confidence.ok_or_else(|| "it is a number from 0 to 1".to_owned())
}
