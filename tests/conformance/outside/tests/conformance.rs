//! Does it keep the promises of the contract?

fn main() -> std::process::ExitCode {
    potluck_conformance::main("outside", || async { outside::connect() })
}
