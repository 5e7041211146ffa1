//! What do the commands that need a broker take?

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use potluck::{Error, Group, Member, Message, Start, Topic, url};

use super::Profile;

/// Publish messages, one JSON text a line, and write a receipt for each
///
/// A line is published as the bytes that it is, once it has passed the schema. A receipt, one JSON
/// line on standard output, is written when the broker has confirmed the message: {"event_id":…,
/// "id":…, "outcome":"stored"}. Lines that are not published are named on standard error by their
/// number and do not stop the lines after them; blank lines do not count. What the broker does not
/// take at all, because it is away or denies it, ends the run with the line to go on from.
///
/// Exits with 3 when some lines were refused, with 65 when all were. The first Ctrl-C stops
/// reading and waits for what is under way.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  potluck publish events.free-food events.jsonl")]
pub(crate) struct Publish {
    /// Where to
    #[arg(value_name = "TOPIC", value_parser = source_topic)]
    pub(crate) topic: Topic,
    /// Messages, one a line; - or nothing is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Which schema: what producers may send, or what consumers accept
    #[arg(long, value_enum, default_value_t = Profile::Producer)]
    pub(crate) profile: Profile,
}

/// Consume messages as a member of a group: write each, then acknowledge it
///
/// Declares topic and group if they are not there. A message is acknowledged after its line is
/// written. A malformed message is named on standard error and left to the group, which gets it
/// again; an event that only fails the schema is written like any other.
///
/// With -o json each line is {"topic", "id", "key", "headers", "attempt", "payload"}: the payload
/// is the message's JSON as it is, but for line breaks between its tokens, which become spaces;
/// bytes that are no text stand as {"base64": "…"}; key is null when there is none.
///
/// Ctrl-C, SIGTERM and a reader that goes away (| head) end it: what was written is acknowledged,
/// the rest is given back. Exits with 3 when malformed messages were left.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  potluck consume events.free-food -g mailer -o raw --idle 5s")]
pub(crate) struct Consume {
    /// Where from
    #[arg(value_name = "TOPIC", value_parser = topic)]
    pub(crate) topic: Topic,
    /// The group, whose members share the messages
    #[arg(short, long, value_name = "GROUP", value_parser = group)]
    pub(crate) group: Group,
    /// The member's name; by default one that nobody else has
    #[arg(long, value_name = "NAME", value_parser = member)]
    pub(crate) member: Option<Member>,
    /// Acknowledge malformed messages too, once they are named
    #[arg(long)]
    pub(crate) skip_malformed: bool,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// Look at messages as they come, without a group; nothing is acknowledged
///
/// With -o json each line is as consume writes it, but for "attempt". A malformed message has
/// "defect", which says why, and its bytes as {"base64": "…"}; with -o raw it is named on standard
/// error instead.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  potluck tail events.free-food --start new")]
pub(crate) struct Tail {
    /// Where from
    #[arg(value_name = "TOPIC", value_parser = topic)]
    pub(crate) topic: Topic,
    /// The first message: the earliest that the topic keeps, or the next one
    #[arg(long, value_enum, default_value_t = StartAt::Earliest, value_name = "WHERE")]
    pub(crate) start: StartAt,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// How messages are shown, and when to stop.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Stop after so many messages, malformed ones included
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<NonZeroU64>,
    /// Stop when nothing has come for so long, such as 500ms, 5s or 2m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) idle: Option<Duration>,
    /// How to write a message; by default pretty on a terminal, else json
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Form>,
}

/// Make a topic and a group exist; nobody joins, nothing is read
///
/// The group's start is fixed before this ends. What exists is used as it is, whatever --start
/// says.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  potluck declare events.free-food -g mailer --start new")]
pub(crate) struct Declare {
    /// The topic
    #[arg(value_name = "TOPIC", value_parser = topic)]
    pub(crate) topic: Topic,
    /// The group
    #[arg(short, long, value_name = "GROUP", value_parser = group)]
    pub(crate) group: Group,
    /// A new group's first message: the earliest that the topic keeps, or the next one
    #[arg(long, value_enum, default_value_t = StartAt::Earliest, value_name = "WHERE")]
    pub(crate) start: StartAt,
}

/// Show how a group is doing: backlog, in flight, the oldest message's age, members
///
/// Each figure is exact, estimated, or unavailable where the broker cannot tell: in JSON
/// {"exact": 3}, {"estimated": 3} or "unavailable".
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  potluck status events.free-food -g mailer -o json")]
pub(crate) struct Status {
    /// The topic
    #[arg(value_name = "TOPIC", value_parser = topic)]
    pub(crate) topic: Topic,
    /// The group
    #[arg(short, long, value_name = "GROUP", value_parser = group)]
    pub(crate) group: Group,
    /// How to write it; by default pretty on a terminal, else json
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Layout>,
}

/// Say whether the broker can be reached, what it is, and which settings count
///
/// Shows the broker's product and version, what in its settings endangers messages, what it
/// promises, and where each setting comes from, passwords masked. Exits with 69 when it cannot be
/// reached and with 77 when it refuses us.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  potluck doctor -u redis://localhost:6379")]
pub(crate) struct Doctor {
    /// How to write it; by default pretty on a terminal, else json
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Layout>,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// One JSON object a line
    Json,
    /// The payload's bytes and a newline
    Raw,
    /// A row of a table, for people
    Pretty,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// One JSON object on one line
    Json,
    /// For people
    Pretty,
}

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartAt {
    /// The earliest message that the topic keeps
    Earliest,
    /// The first one from now on
    New,
}

impl StartAt {
    pub(crate) fn start(self) -> Start {
        match self {
            Self::Earliest => Start::Earliest,
            Self::New => Start::New,
        }
    }
}

/// A topic that may be published to.
fn source_topic(name: &str) -> Result<Topic, String> {
    let topic = topic(name)?;
    let admitted = Message::new("").admit(&topic, usize::MAX);
    admitted.map_err(rule).map(|()| topic)
}

pub(crate) fn topic(name: &str) -> Result<Topic, String> {
    Topic::new(name).map_err(rule)
}

pub(crate) fn group(name: &str) -> Result<Group, String> {
    Group::new(name).map_err(rule)
}

pub(crate) fn member(name: &str) -> Result<Member, String> {
    Member::new(name).map_err(rule)
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    url::parse_duration(text).map_err(rule)
}

/// The rule that a value breaks. The parser says itself which argument and value it was, and what
/// it says is masked; the start of a value in the error's context would not be.
#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn rule(error: Error) -> String {
    let text = error.to_string();
    let rule = text.strip_prefix(error.operation()).unwrap_or(&text);
    let context = error.context().next();
    let rule = match context.and_then(|(name, _)| rule.split_once(&format!(" ({name}="))) {
        Some((rule, _)) => rule,
        None => rule,
    };
    rule.trim_start_matches(": ").to_owned()
}

/// Ask a broker whether it keeps the promises of the contract
///
/// Runs the conformance suite. It is safe on a broker that is in use: it works in topics named
/// conformance-… and deletes those that it made, also after a failure.
///
/// The report goes to standard output: the broker and its version, the seed, what the transport
/// claims, and for each case its name, promise, outcome (passed, failed or not_run), reason and
/// time. Cases that have to break connections or the broker are not run here. Exits with 0 when all
/// held, with 1 when some did not, with 69 when there is no broker.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  potluck conformance redis://localhost:6379 --report markdown")]
pub(crate) struct Conformance {
    // Not `url`, which is the name of the option of every command and would hide it.
    /// The broker; without it as for every command
    #[arg(value_name = "URL")]
    pub(crate) broker: Option<String>,
    /// Run only cases whose names contain this
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// List the cases and their promises, and run none
    #[arg(long)]
    pub(crate) list: bool,
    /// How to write the report
    #[arg(long, value_enum, default_value_t = ReportAs::Json, value_name = "FORM")]
    pub(crate) report: ReportAs,
    /// Make the random choices of the run that had this seed
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportAs {
    /// One JSON object
    Json,
    /// JUnit's XML, for continuous integration
    Junit,
    /// Tables, for people
    Markdown,
}
