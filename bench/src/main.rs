//! What does Potluck cost beside doing the same thing by hand? `make bench` prints the answer.
//!
//! Only ratios within one run count: the machine is shared and its speed drifts. So each round runs
//! every contender once, in an order that rotates, and what is compared are medians over rounds.

mod envelope;
mod process;
mod redis;
mod rounds;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(what), options) = (args.next(), args.collect::<Vec<_>>()) else {
        return usage();
    };
    let json = options.iter().any(|option| option == "--json");
    let report = match what.as_str() {
        "envelope" => envelope::run(),
        "redis" => redis::run(options.iter().any(|option| option == "--current-thread")),
        _ => return usage(),
    };
    match report {
        Ok(report) => {
            println!(
                "{}",
                if json {
                    report.to_json().to_string()
                } else {
                    report.to_table()
                }
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: potluck-bench envelope|redis [--json] [--current-thread]");
    ExitCode::from(2)
}
