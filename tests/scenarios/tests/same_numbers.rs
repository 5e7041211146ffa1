//! Do all brokers give the numbers that the scenario file expects?

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // tests

use std::any::Any;
use std::io::Write;
use std::pin::Pin;

use potluck_brokers::redis::{RedisOptions, RedisServer};
use potluck_brokers::skip::or_skip;
use potluck_scenarios::{Numbers, Result, Scenario, Table, run};

/// A broker's URL, and what keeps it alive.
type Running = (String, Box<dyn Any>);
/// Starts a broker; `None` where it is not installed and need not be.
type Starting = Pin<Box<dyn Future<Output = Result<Option<Running>>>>>;

type Start = fn() -> Starting;

/// Another broker is another line.
const BROKERS: &[(&str, Start)] = &[
    ("memory", || Box::pin(std::future::ready(memory()))),
    ("redis", || Box::pin(redis())),
];

fn memory() -> Result<Option<Running>> {
    Ok(Some(("memory:".to_owned(), Box::new(()))))
}

async fn redis() -> Result<Option<Running>> {
    let server = or_skip(RedisServer::start(RedisOptions::default()).await)?;
    Ok(server.map(|server| (server.url(), Box::new(server) as Box<dyn Any>)))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_brokers_give_the_expected_numbers() {
    let scenarios = Scenario::all().unwrap();
    let mut tables: Vec<_> = scenarios.iter().map(Table::new).collect();
    for (name, start) in BROKERS {
        let Some((url, _alive)) = start().await.unwrap() else {
            continue;
        };
        let bus = potluck::bus(&url).unwrap();
        for (place, (scenario, table)) in scenarios.iter().zip(&mut tables).enumerate() {
            let topic = format!("scenario-{place}");
            let numbers = run::run(scenario, &bus, &topic).await;
            table.add(
                name,
                numbers.unwrap_or_else(|error| panic!("{name}: {error}")),
            );
        }
        bus.close().await.unwrap();
    }
    let mut differences = Vec::new();
    for table in &tables {
        // Not `println!`, whose text the test harness swallows when the test passes.
        writeln!(std::io::stdout(), "{table}").unwrap();
        differences.extend(table.differences());
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_number_that_is_not_the_expected_one_is_named() {
    let scenarios = Scenario::all().unwrap();
    let scenario = &scenarios[1];
    let right: Vec<Numbers> = scenario
        .events
        .iter()
        .map(|event| event.expect.clone())
        .collect();
    let mut wrong = right.clone();
    wrong[1].tries += 1;
    let mut table = Table::new(scenario);
    table.add("right", right.clone());
    table.add("wrong", wrong);
    table.add("short", right[1..].to_vec());
    let differences = table.differences();
    assert_eq!(
        differences[0],
        "wrong: one try and no more: 2 exhausted 1 1, not 1 exhausted 1 1"
    );
    assert_eq!(differences[1], "short: 2 events");
    assert!(table.to_string().contains("2 exhausted 1 1"));
}
