//! `potluck conformance`: does a broker keep the promises of the contract?

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use potluck::url::BrokerUrl;
use potluck_conformance::{Case, CaseReport, Options, Outcome, Report, Target};
use potluck_conformance::{cases, run as run_suite};

use crate::args::{Conformance, Global, ReportAs};
use crate::connect::{self, Address};
use crate::exit::{Exit, Run, Stop};
use crate::output::{self, Talk};
use crate::signals::Stopping;

pub(crate) fn run(args: &Conformance, global: &Global, talk: Talk) -> Run {
    let options = Options {
        filter: args.filter.clone(),
        seed: args.seed.unwrap_or_else(|| Options::default().seed),
        ..Options::default()
    };
    let chosen: Vec<&Case> = cases::all().filter(|case| options.takes(case)).collect();
    if chosen.is_empty() {
        let text = "no case has that in its name; `potluck conformance --list` names them all";
        return Err(Stop::failed(Exit::Usage, text));
    }
    if args.list {
        return list(&chosen);
    }
    let address = connect::chosen(args.broker.as_deref(), global, talk)?;
    let target = target(&address)?;
    let progress = progress(chosen.len() as u64, talk);
    let done = |case: &CaseReport| {
        progress.set_message(case.name);
        progress.inc(1);
        if case.outcome == Outcome::Failed {
            let reason = case.reason.as_deref().unwrap_or_default();
            let say = || talk.warn(format_args!("{}: {reason}", case.name));
            progress.suspend(say);
        }
    };
    let report = connect::block_on(async {
        let (mut stopping, halt) = (Stopping::listen(talk)?, options.halt.clone());
        // Cases under way clean up after themselves before they end.
        tokio::spawn(async move {
            stopping.asked().await;
            halt.halt();
        });
        Ok(run_suite(&target, &options, done).await?)
    });
    progress.finish_and_clear();
    let report = report?;
    write(&report, args.report)?;
    let (passed, failed, not_run) = (
        report.count(Outcome::Passed),
        report.count(Outcome::Failed),
        report.count(Outcome::NotRun),
    );
    talk.note(format_args!(
        "{passed} held, {failed} did not, {not_run} not run; seed {}",
        report.seed
    ));
    let stopped = options.halt.is_halted();
    Ok(if failed == 0 && !stopped {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// The broker. In a report it has the URL's name without a secret.
fn target(address: &Address) -> Result<Target, Stop> {
    let url = shared(&address.url)?;
    Ok(Target::new(address.shown()?, move || {
        let url = url.clone();
        async move { potluck::connect(&url) }
    }))
}

/// Every connection of the suite must reach the same broker, also when it is in memory and the URL
/// names none.
fn shared(url: &str) -> Result<String, Stop> {
    let parsed = BrokerUrl::parse(url)?;
    if parsed.scheme != "memory" || !parsed.hosts.is_empty() {
        return Ok(url.to_owned());
    }
    let options = url.split_once('?').map(|(_, options)| options);
    Ok(match options {
        Some(options) => format!("memory://conformance?{options}"),
        None => "memory://conformance".to_owned(),
    })
}

fn list(chosen: &[&Case]) -> Run {
    let mut out = output::for_programs();
    for case in chosen {
        writeln!(out, "{:<40}  {}", case.name, case.promise)
            .map_err(|error| Stop::at_output(&error))?;
    }
    out.flush().map_err(|error| Stop::at_output(&error))?;
    Ok(Exit::Ok)
}

fn write(report: &Report, form: ReportAs) -> Result<(), Stop> {
    let text = match form {
        ReportAs::Json => format!("{}\n", report.to_json()),
        ReportAs::Junit => report.to_junit(),
        ReportAs::Markdown => report.to_markdown(),
    };
    let mut out = output::for_programs();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Stop::at_output(&error))
}

/// A line on standard error, when a person looks at it.
fn progress(count: u64, talk: Talk) -> ProgressBar {
    if talk.quiet {
        return ProgressBar::hidden();
    }
    // It hides itself where standard error is no terminal.
    let bar = ProgressBar::new(count);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use super::*;

    #[test]
    fn a_broker_in_memory_is_one_for_all_connections() {
        for (url, all) in [
            ("memory:", "memory://conformance"),
            ("memory://", "memory://conformance"),
            ("MEMORY:?max_bytes=9", "memory://conformance?max_bytes=9"),
            ("memory://mine", "memory://mine"),
            ("redis://u:p@h?timeout=1s", "redis://u:p@h?timeout=1s"),
        ] {
            assert_eq!(shared(url).unwrap(), all, "{url}");
        }
    }
}
