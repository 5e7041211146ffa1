//! `potluck completions`: what a shell must know to complete our command lines.

use std::io::Write;

use clap::CommandFactory;

use crate::args::{Cli, Completions};
use crate::exit::{Exit, Run, Stop};
use crate::output;

pub(crate) fn run(args: &Completions) -> Run {
    // The generator panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "potluck", &mut script);
    let mut out = output::for_programs();
    out.write_all(&script)
        .and_then(|()| out.flush())
        .map_err(|error| Stop::at_output(&error))?;
    Ok(Exit::Ok)
}
