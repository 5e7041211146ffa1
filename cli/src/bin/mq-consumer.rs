//! `mq-consumer`: the original's name for `potluck serve`.

fn main() -> std::process::ExitCode {
    potluck_cli::mq_consumer()
}
