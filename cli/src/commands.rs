//! Which command runs?

mod completions;
mod demo;
mod schema;
mod validate;

use crate::args::{Cli, Command};
use crate::exit::Run;
use crate::output::Talk;

/// Runs the command that was asked for.
pub(crate) fn run(cli: &Cli) -> Run {
    let talk = Talk {
        quiet: cli.global.quiet,
        verbose: cli.global.verbose,
    };
    match &cli.command {
        Command::Demo(args) => demo::run(args, &cli.global, talk),
        Command::Validate(args) => validate::run(args, talk),
        Command::Schema(command) => schema::run(command, talk),
        Command::Completions(args) => completions::run(args),
    }
}
