//! Which command runs?

mod completions;
mod conformance;
mod consume;
mod declare;
mod demo;
mod doctor;
mod publish;
mod schema;
mod serve;
mod status;
mod tail;
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
        Command::Publish(args) => publish::run(args, &cli.global, talk),
        Command::Consume(args) => consume::run(args, &cli.global, talk),
        Command::Tail(args) => tail::run(args, &cli.global, talk),
        Command::Serve(args) => serve::run(args, &cli.global, talk),
        Command::Declare(args) => declare::run(args, &cli.global, talk),
        Command::Status(args) => status::run(args, &cli.global, talk),
        Command::Doctor(args) => doctor::run(args, &cli.global, talk),
        Command::Conformance(args) => conformance::run(args, &cli.global, talk),
        Command::Validate(args) => validate::run(args, talk),
        Command::Schema(command) => schema::run(command, talk),
        Command::Completions(args) => completions::run(args),
    }
}
