//! What came of each event, brokers side by side, beside what the file expects.

use std::fmt;

use crate::{Numbers, Scenario};

/// One scenario's numbers on several brokers.
#[derive(Debug)]
pub struct Table<'a> {
    scenario: &'a Scenario,
    columns: Vec<(&'a str, Vec<Numbers>)>,
}

impl<'a> Table<'a> {
    /// A table without a column.
    #[must_use]
    pub fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            columns: Vec::new(),
        }
    }

    /// Adds a broker's numbers, one for each event in order.
    pub fn add(&mut self, broker: &'a str, numbers: Vec<Numbers>) {
        self.columns.push((broker, numbers));
    }

    /// Where a broker's numbers are not the expected ones, in words.
    #[must_use]
    pub fn differences(&self) -> Vec<String> {
        let mut differences = Vec::new();
        for (broker, numbers) in &self.columns {
            if numbers.len() != self.scenario.events.len() {
                differences.push(format!("{broker}: {} events", numbers.len()));
            }
            for (event, found) in self.scenario.events.iter().zip(numbers) {
                if event.expect != *found {
                    let (name, expected) = (&event.name, show(&event.expect));
                    let found = show(found);
                    differences.push(format!("{broker}: {name}: {found}, not {expected}"));
                }
            }
        }
        differences
    }
}

/// Tries, end, the payload's `retries`, the header's attempts.
fn show(numbers: &Numbers) -> String {
    let number = |one: Option<u32>| one.map_or("-".to_owned(), |one| one.to_string());
    let Numbers { tries, ends, .. } = numbers;
    let (retries, attempts) = (number(numbers.retries), number(numbers.attempts));
    format!("{tries} {ends} {retries} {attempts}")
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.scenario.name;
        writeln!(f, "{name}: tries, end, `retries`, `potluck-attempts`")?;
        write!(f, "{:<40}{:<28}", "event", "expected")?;
        for (broker, _) in &self.columns {
            write!(f, "{broker:<28}")?;
        }
        writeln!(f)?;
        for (place, event) in self.scenario.events.iter().enumerate() {
            write!(f, "{:<40}{:<28}", event.name, show(&event.expect))?;
            for (_, numbers) in &self.columns {
                let found = numbers.get(place).map(show).unwrap_or_default();
                write!(f, "{found:<28}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
