//! `potluck status`: how is a group doing?

use std::io::{self, Write};
use std::time::Duration;

use potluck::{Figure, Group, GroupStatus, Topic};
use serde::Serialize;

use crate::args::{Global, Layout, Status};
use crate::connect;
use crate::exit::{Exit, Run, Stop};
use crate::output::{self, FAINT, HEADING, Talk, styled};
use crate::records;

/// The report. Documented and stable.
#[derive(Serialize)]
struct Report<'a> {
    topic: &'a str,
    group: &'a str,
    #[serde(flatten)]
    status: GroupStatus,
}

pub(crate) fn run(args: &Status, global: &Global, talk: Talk) -> Run {
    let Status {
        topic,
        group,
        output,
    } = args;
    connect::with_broker(global, talk, async |broker| {
        let status = broker.answer(broker.transport.status(topic, group)).await?;
        let written = match output::layout(*output) {
            Layout::Json => {
                let report = Report {
                    topic: topic.as_str(),
                    group: group.as_str(),
                    status,
                };
                records::write_report(&mut output::for_programs(), &report)
            }
            Layout::Pretty => write_pretty(&mut output::for_people(), topic, group, &status),
        };
        written.map_err(|error| Stop::at_output(&error))?;
        Ok(Exit::Ok)
    })
}

fn write_pretty(
    out: &mut impl Write,
    topic: &Topic,
    group: &Group,
    status: &GroupStatus,
) -> io::Result<()> {
    writeln!(
        out,
        "{}",
        styled(format_args!("{group} of {topic}"), HEADING)
    )?;
    let number = |count: u64| count.to_string();
    let age = |millis: u64| age(Duration::from_millis(millis));
    for (name, text) in [
        ("Backlog", shown(status.backlog, number)),
        ("In flight", shown(status.in_flight, number)),
        ("Oldest", shown(status.oldest_ms, age)),
        ("Members", shown(status.members, number)),
    ] {
        writeln!(out, "  {name:<9}  {text}")?;
    }
    out.flush()
}

fn shown(figure: Figure<u64>, write: impl Fn(u64) -> String) -> String {
    match figure {
        Figure::Exact(value) => write(value),
        Figure::Estimated(value) => format!("{} {}", write(value), styled("estimated", FAINT)),
        Figure::Unavailable => styled("unavailable: the broker cannot tell", FAINT),
    }
}

/// An age in its two largest units.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0 => format!("{} ms", age.as_millis()),
        1..60 => format!("{:.1} s", age.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_for_people() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (180_000_000, "2 d 2 h"),
        ] {
            assert_eq!(age(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn how_far_to_trust_a_figure_is_said() {
        let status = GroupStatus {
            backlog: Figure::Exact(3),
            in_flight: Figure::Unavailable,
            oldest_ms: Figure::Estimated(1_500),
            members: Figure::Exact(0),
        };
        let (topic, group) = (Topic::new("t").unwrap(), Group::new("g").unwrap());
        let mut out = Vec::new();
        write_pretty(&mut out, &topic, &group, &status).unwrap();
        let text = anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string();
        assert_eq!(
            text,
            "g of t\n  Backlog    3\n  In flight  unavailable: the broker cannot tell\n  \
             Oldest     1.5 s estimated\n  Members    0\n"
        );
        let report = Report {
            topic: "t",
            group: "g",
            status,
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"topic":"t","group":"g","backlog":{"exact":3},"in_flight":"unavailable","oldest_ms":{"estimated":1500},"members":{"exact":0}}"#
        );
    }
}
