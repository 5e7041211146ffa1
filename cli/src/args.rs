//! What does the command line say? Options, commands and their help.

pub(crate) mod serve;
mod verbs;

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use serve::{LogForm, Serve};
pub(crate) use verbs::{
    Conformance, Consume, Declare, Doctor, Form, Layout, Publish, ReportAs, Show, StartAt, Status,
    Tail,
};

/// Events over Redis Streams, RabbitMQ, Kafka or memory, with one contract.
#[derive(Debug, Parser)]
#[command(name = "potluck", version, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The consumer service of free-food events: `potluck serve` by another name
#[derive(Debug, Parser)]
#[command(name = "mq-consumer", version)]
pub(crate) struct MqConsumer {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

const AFTER_HELP: &str = "\
Data goes to standard output, messages to standard error.

Exit codes: 0 ok, 1 failed, 2 usage, 3 partly failed, 65 bad data, 69 broker unreachable, \
75 timed out, 77 not permitted, 78 bad configuration, 130 interrupted twice.";

/// Options that every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The broker, such as memory: or redis://localhost:6379; @FILE reads the URL from a file.
    /// Without it and POTLUCK_URL, REDIS_URL counts. Only demo does without any, in memory.
    #[arg(
        short,
        long,
        global = true,
        env = "POTLUCK_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: Option<String>,
    /// When to use colours. `auto` is on a terminal, and honours NO_COLOR.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Say nothing but errors on standard error.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more on standard error.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Publish(Publish),
    Consume(Consume),
    Tail(Tail),
    Serve(Serve),
    Declare(Declare),
    Status(Status),
    Doctor(Doctor),
    Conformance(Conformance),
    Validate(Validate),
    #[command(subcommand)]
    Schema(Schema),
    Completions(Completions),
}

/// Find the free food in a campus calendar, publish it and consume it
///
/// Reads events in the format of Localist's /api/2/events, keeps those that promise free food by a
/// rule of keywords, publishes them as events of the contract, consumes them in a group, and shows
/// what came. Without --url it runs in memory and needs no broker. With -v it says why each event
/// was kept or skipped.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Events to read instead of the sample; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Check messages against the contract, one JSON verdict a line
///
/// A .json file is one message; any other file, and standard input (- or no FILE), has one on each
/// line, and blank lines do not count. Exits with 65 when a message is not valid, with 1 when a
/// file cannot be read.
#[derive(Args, Debug)]
pub(crate) struct Validate {
    /// Which schema: what consumers accept, or what producers may send
    #[arg(long, value_enum, default_value_t = Profile::Consumer)]
    pub(crate) profile: Profile,
    /// Files to check
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// The two profiles of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Unknown top-level fields are allowed
    Consumer,
    /// An unknown top-level field is an error
    Producer,
}

/// Write the contract's JSON Schemas, check them for drift, or compare two versions
#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    /// Write the schema files into a directory
    Export {
        /// Where to; it is created when it does not exist
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Compare the schema files of a directory with the types; exits with 1 when they differ
    Check {
        /// Where they are
        #[arg(value_name = "DIR", default_value = "schema/v1.0.0")]
        dir: PathBuf,
    },
    /// Say which version bump a change needs; exits with 1 when the declared one is too small
    Diff {
        /// The schema file before
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// The schema file after
        #[arg(value_name = "NEW")]
        new: PathBuf,
    },
}

/// Write a completion script for a shell
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: Shell,
}

/// Where the broker's URL is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    /// This is it.
    Url(String),
    /// It is the first line of this file.
    InFile(PathBuf),
}

impl Broker {
    /// What a setting names: `@FILE`, or a URL.
    pub(crate) fn of(value: String) -> Self {
        match value.strip_prefix('@') {
            Some(file) => Self::InFile(file.into()),
            None => Self::Url(value),
        }
    }
}

/// What has named the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    Flag,
    PotluckUrl,
    RedisUrl,
}

impl NamedBy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "--url",
            Self::PotluckUrl => "POTLUCK_URL",
            Self::RedisUrl => "REDIS_URL",
        }
    }
}

impl Global {
    /// The broker, when one is named: by the flag, else `POTLUCK_URL`, else `REDIS_URL`. An empty
    /// variable counts as unset. `environment` looks up a variable.
    pub(crate) fn broker(
        &self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Option<(Broker, NamedBy)> {
        let given = |text: &String| !text.is_empty();
        let variable = |name: &str| environment(name).filter(given);
        let (url, by) = match self.url.clone().filter(given) {
            // The parser has looked into the variable already.
            Some(url) if variable("POTLUCK_URL").as_ref() == Some(&url) => {
                (url, NamedBy::PotluckUrl)
            }
            Some(url) => (url, NamedBy::Flag),
            None => (variable("REDIS_URL")?, NamedBy::RedisUrl),
        };
        Some((Broker::of(url), by))
    }
}

/// Whether a FILE stands for standard input.
pub(crate) fn is_stdin(file: &OsStr) -> bool {
    file == "-"
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::CommandFactory;

    use super::*;

    pub(crate) fn global(url: Option<&str>) -> Global {
        Global {
            url: url.map(str::to_owned),
            color: Color::Auto,
            quiet: false,
            verbose: false,
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
        MqConsumer::command().debug_assert();
    }

    #[test]
    fn the_flag_wins_then_the_variables() {
        let broker = |url: Option<&str>, ours: Option<&str>, redis: Option<&str>| {
            global(url).broker(|name| {
                let value = if name == "REDIS_URL" { redis } else { ours };
                value.map(str::to_owned)
            })
        };
        let url = |text: &str, by| Some((Broker::Url(text.to_owned()), by));
        let (kafka, redis) = (Some("kafka://h"), Some("redis://h"));
        assert_eq!(broker(kafka, None, redis), url("kafka://h", NamedBy::Flag));
        assert_eq!(
            broker(kafka, kafka, redis),
            url("kafka://h", NamedBy::PotluckUrl)
        );
        assert_eq!(
            broker(None, None, redis),
            url("redis://h", NamedBy::RedisUrl)
        );
        assert_eq!(broker(Some(""), Some(""), Some("")), None);
        assert_eq!(broker(None, None, None), None);
        let file = Some((Broker::InFile("a/b".into()), NamedBy::Flag));
        assert_eq!(broker(Some("@a/b"), None, None), file);
    }
}
