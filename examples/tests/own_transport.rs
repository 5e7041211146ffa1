//! Does the example's transport keep the promises of the contract?

#[path = "../own_transport.rs"]
#[allow(dead_code, unreachable_pub)] // The example's main is not ours.
mod own_transport;

fn main() -> std::process::ExitCode {
    potluck_conformance::main("counting", || async {
        own_transport::connect("memory://own-transport").map(|(transport, _)| transport)
    })
}
