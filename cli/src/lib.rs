//! The command line of Potluck: `potluck`, and `mq-consumer`, which is `potluck serve`. This file
//! turns a command's result into an exit code.

mod args;
mod calendar;
mod commands;
mod connect;
mod exit;
mod files;
mod food;
mod html;
mod lines;
mod log;
mod output;
mod records;
mod settings;
mod signals;
mod spans;
mod table;
mod until;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, MqConsumer};
use exit::{Exit, Stop};

/// The program `potluck`.
#[must_use]
pub fn potluck() -> ExitCode {
    main(Cli::try_parse())
}

/// The program `mq-consumer`.
#[must_use]
pub fn mq_consumer() -> ExitCode {
    main(
        MqConsumer::try_parse().map(|MqConsumer { global, serve }| Cli {
            global,
            command: Command::Serve(serve),
        }),
    )
}

fn main(parsed: Result<Cli, clap::Error>) -> ExitCode {
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    output::use_colors(cli.global.color);
    match commands::run(&cli) {
        Ok(exit) => exit.into(),
        Err(Stop::ClosedPipe) => Exit::Ok.into(),
        Err(Stop::Failed(exit, text)) => {
            output::error(text);
            exit.into()
        }
    }
}

/// Prints help or the version to standard output, and what is wrong with a command line to
/// standard error, without the passwords in it.
fn answer(error: &clap::Error) -> ExitCode {
    let text = error.render().ansi().to_string();
    if error.use_stderr() {
        let text = output::mask(&text, &output::secrets());
        // When nobody reads what is said there is nobody to tell.
        let _ = write!(anstream::stderr(), "{text}");
        return Exit::Usage.into();
    }
    let mut out = output::for_people();
    let written = write!(out, "{text}").and_then(|()| out.flush());
    match written.map_err(|error| Stop::at_output(&error)) {
        Ok(()) | Err(Stop::ClosedPipe) => Exit::Ok.into(),
        Err(Stop::Failed(exit, text)) => {
            output::error(text);
            exit.into()
        }
    }
}
