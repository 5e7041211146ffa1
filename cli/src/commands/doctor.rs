//! `potluck doctor`: can the broker be reached, what is it, and which settings count?

use std::io::{self, Write};
use std::time::Instant;

use potluck::{Capabilities, Description};
use serde::Serialize;
use serde_json::Value;

use crate::args::{Color, Doctor, Global, Layout};
use crate::connect::{self, Address};
use crate::exit::{Exit, Run, Stop};
use crate::output::{self, FAINT, HEADING, SURE, Talk, UNSURE, styled};
use crate::records;
use crate::table;

/// What an option's name has in it when its value is not shown.
const SECRET_WORDS: [&str; 5] = ["pass", "secret", "token", "key", "auth"];

/// The report. Documented and stable.
#[derive(Serialize)]
struct Report {
    broker: String,
    reachable: bool,
    /// How long it took to answer.
    answered_ms: Option<u64>,
    product: String,
    version: String,
    notices: Vec<String>,
    capabilities: Capabilities,
    settings: Vec<Setting>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Setting {
    name: String,
    value: String,
    from: String,
}

pub(crate) fn run(args: &Doctor, global: &Global, talk: Talk) -> Run {
    connect::with_broker(global, talk, async |broker| {
        let begun = Instant::now();
        let described = broker.answer(broker.transport.describe()).await;
        let (description, problem) = match described {
            Ok(description) => (description, None),
            Err(stop) => (Description::default(), Some(stop)),
        };
        let reachable = problem.is_none();
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = Report {
            broker: broker.address.shown()?,
            reachable,
            answered_ms: reachable.then_some(took),
            product: description.product,
            version: description.version,
            notices: description.notices,
            capabilities: broker.transport.capabilities(),
            settings: settings(&broker.address, global)?,
        };
        let written = match output::layout(args.output) {
            Layout::Json => records::write_report(&mut output::for_programs(), &report),
            Layout::Pretty => write_pretty(&mut output::for_people(), &report),
        };
        written.map_err(|error| Stop::at_output(&error))?;
        problem.map_or(Ok(Exit::Ok), Err)
    })
}

/// The settings that count, and where each comes from.
fn settings(address: &Address, global: &Global) -> Result<Vec<Setting>, Stop> {
    let setting = |name: &str, value: String, from: &str| Setting {
        name: name.to_owned(),
        value,
        from: from.to_owned(),
    };
    let mut settings = vec![setting("url", address.shown()?, &address.from)];
    // The transport knows all of these, or it would not have taken the URL.
    let options = address.url.split_once('?').map_or("", |(_, query)| query);
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let is_secret = SECRET_WORDS.iter().any(|word| name.contains(word));
        let value = if is_secret { "***" } else { value };
        settings.push(setting(name, value.to_owned(), &address.from));
    }
    let (color, from) = match (global.color, std::env::var_os("NO_COLOR")) {
        (Color::Always, _) => ("always", "--color"),
        (Color::Never, _) => ("never", "--color"),
        (Color::Auto, Some(value)) if !value.is_empty() => ("never", "NO_COLOR"),
        (Color::Auto, _) => ("auto", "default"),
    };
    settings.push(setting("color", color.to_owned(), from));
    Ok(settings)
}

fn write_pretty(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let heading = |text: &str| styled(text, HEADING);
    let verdict = match report.answered_ms {
        Some(millis) => format!("{}, in {millis} ms", styled("reachable", SURE)),
        None => styled("not reachable", UNSURE),
    };
    writeln!(
        out,
        "{}  {verdict}",
        heading(&table::printable(&report.broker))
    )?;
    if report.reachable {
        let (product, version) = (&report.product, &report.version);
        let text = format!("{product} {version}");
        writeln!(out, "  {}", table::printable(text.trim()))?;
    }
    for notice in &report.notices {
        let mark = styled("!", UNSURE);
        writeln!(out, "  {mark} {}", table::printable(notice))?;
    }
    writeln!(out, "{}", heading("Settings"))?;
    for Setting { name, value, from } in &report.settings {
        let from = styled(format_args!("from {}", table::printable(from)), FAINT);
        writeln!(out, "  {name:<12}  {}  {from}", table::printable(value))?;
    }
    writeln!(out, "{}", heading("What it promises"))?;
    if let Ok(Value::Object(capabilities)) = serde_json::to_value(report.capabilities) {
        for (name, value) in capabilities {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let (name, text) = (name.replace('_', " "), text.replace('_', " "));
            writeln!(out, "  {name:<12}  {text}")?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_shows_a_password() {
        let address = Address {
            url: "redis://u:canary@h?lease=30s&sasl_password=canary".to_owned(),
            from: "POTLUCK_URL".to_owned(),
        };
        let global = crate::args::tests::global(None);
        let shown = settings(&address, &global).unwrap();
        let values: Vec<_> = shown.iter().map(|one| one.value.as_str()).collect();
        assert_eq!(values[..3], ["redis://u:***@h", "30s", "***"]);
        assert!(shown[..3].iter().all(|one| one.from == "POTLUCK_URL"));
    }
}
