//! How are people and programs spoken to? Data to standard output, messages to standard error, no
//! secret in either.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use tracing::Level;

use crate::args::{Color, Layout};
use crate::log::structured;
use crate::table;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();
pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const SURE: Style = AnsiColor::Green.on_default();
pub(crate) const UNSURE: Style = AnsiColor::Yellow.on_default();

/// Sets for the whole process when colours are used. `auto` looks at each stream by itself, and at
/// `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and `TERM`.
pub(crate) fn use_colors(when: Color) {
    let choice = match when {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Standard output for people: styles are taken out where they are not wanted.
pub(crate) fn for_people() -> impl Write {
    io::BufWriter::new(anstream::AutoStream::auto(io::stdout().lock()))
}

/// Standard output for programs.
pub(crate) fn for_programs() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::new(io::stdout().lock())
}

/// Whether a person reads standard output.
pub(crate) fn people_read() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard output takes colours.
pub(crate) fn is_colored() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// The layout of a report: as asked for, else as suits who reads it.
pub(crate) fn layout(asked: Option<Layout>) -> Layout {
    let for_whom = if people_read() {
        Layout::Pretty
    } else {
        Layout::Json
    };
    asked.unwrap_or(for_whom)
}

/// A text in a style.
pub(crate) fn styled(text: impl Display, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// How much is said on standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

impl Talk {
    /// Something worth knowing that is no error.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            say(Level::INFO, &text.to_string());
        }
    }

    /// Something that may be a problem.
    pub(crate) fn warn(self, text: impl Display) {
        if !self.quiet {
            say(Level::WARN, &text.to_string());
        }
    }

    /// A detail for those who ask for more.
    pub(crate) fn detail(self, text: impl Display) {
        if self.verbose {
            say(Level::INFO, &text.to_string());
        }
    }
}

/// Tells of an error, in one line.
pub(crate) fn error(text: impl Display) {
    say(Level::ERROR, &text.to_string());
}

/// Says it in the log, if this process keeps one.
fn say(level: Level, text: &str) {
    if structured::say(level, text) {
        return;
    }
    let (word, style) = match level {
        Level::ERROR => ("error", ERROR),
        Level::WARN => ("warning", WARNING),
        _ => ("note", NOTE),
    };
    let text = mask(text, &secrets());
    let word = styled(format_args!("{word}:"), style);
    // When nobody reads what is said there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{word} {}", table::printable(&text));
}

/// Texts from outside that may hold a password and that a message may quote: arguments and URLs.
pub(crate) fn secrets() -> Vec<String> {
    let arguments = std::env::args_os()
        .skip(1)
        .map(|text| text.to_string_lossy().into_owned());
    let variables = ["POTLUCK_URL", "REDIS_URL"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    arguments.chain(variables).collect()
}

/// `text` without the credentials of these URLs. Which part of a botched URL is the password
/// nobody can tell, so all behind the scheme goes.
pub(crate) fn mask(text: &str, secrets: &[String]) -> String {
    let mut masked = text.to_owned();
    for secret in secrets {
        let secret = secret
            .split_once('=')
            .filter(|_| secret.starts_with('-'))
            .map_or(secret.as_str(), |(_, value)| value);
        let Some((scheme, rest)) = secret.split_once(':') else {
            continue;
        };
        if rest.contains(['@', '?']) {
            masked = masked.replace(secret, &format!("{scheme}:***"));
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_credentials_are_masked_wherever_they_stand() {
        let secrets = [
            "redis://u:canary@h".to_owned(),
            "--url=amqp://u:can'ary s@h/v".to_owned(),
            "kafka://h?password=canary".to_owned(),
            "redis:u:canary@h".to_owned(),
            "demo".to_owned(),
            "C:\\file".to_owned(),
        ];
        for (text, masked) in [
            (
                "no redis://u:canary@h here, redis://u:canary@h",
                "no redis:*** here, redis:***",
            ),
            (
                "unexpected 'amqp://u:can'ary s@h/v'",
                "unexpected 'amqp:***'",
            ),
            ("kafka://h?password=canary", "kafka:***"),
            ("redis:u:canary@h", "redis:***"),
            ("demo C:\\file", "demo C:\\file"),
        ] {
            assert_eq!(mask(text, &secrets), masked);
        }
    }
}
