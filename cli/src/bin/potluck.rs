//! `potluck`: the command line of Potluck.

fn main() -> std::process::ExitCode {
    potluck_cli::potluck()
}
