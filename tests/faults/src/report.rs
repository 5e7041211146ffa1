//! What did a case count and measure, and was it within what is allowed?

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::counts::Counts;

/// What all cases together gave.
static TOTAL: Mutex<Total> = Mutex::new(Total {
    cases: 0,
    broken: 0,
    ledgers: 0,
    counts: None,
});

#[derive(Debug)]
struct Total {
    cases: usize,
    broken: usize,
    ledgers: usize,
    counts: Option<Counts>,
}

fn total() -> MutexGuard<'static, Total> {
    TOTAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one case found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Figures, as they are printed.
    figures: Vec<String>,
    /// What is not as it must be.
    broken: Vec<String>,
}

impl Findings {
    /// A figure that is reported and not judged.
    pub fn say(&mut self, figure: impl Display) {
        self.figures.push(figure.to_string());
    }

    /// A count that may be at most `most`. Reported where it is not simply nothing, as it must be.
    pub fn at_most(&mut self, name: &str, count: usize, most: usize) {
        if count > 0 || most > 0 {
            self.say(format!("{name} {count} (at most {most})"));
        }
        if count > most {
            self.broken.push(format!("{name}: {count}, at most {most}"));
        }
    }

    /// A count that must be exactly `expected`.
    pub fn exactly(&mut self, name: &str, count: usize, expected: usize) {
        self.say(format!("{name} {count}"));
        if count != expected {
            self.broken.push(format!("{name}: {count}, not {expected}"));
        }
    }

    /// A time that may be at most `most`, or that never came.
    pub fn within(&mut self, name: &str, time: Option<Duration>, most: Duration) {
        match time {
            Some(time) => self.say(format!("{name} {time:.2?} (at most {most:.2?})")),
            None => self.say(format!("{name} never")),
        }
        if time.is_none_or(|time| time > most) {
            self.broken
                .push(format!("{name}: {time:.2?}, at most {most:.2?}"));
        }
    }

    /// What a ledger says, which also counts for the summary.
    pub fn counts(&mut self, counts: &Counts) {
        self.say(counts);
        let mut total = total();
        total.ledgers += 1;
        *total.counts.get_or_insert_default() += *counts;
    }

    /// Something that must hold.
    pub fn holds(&mut self, holds: bool, what: impl Display) {
        if !holds {
            self.broken.push(what.to_string());
        }
    }

    /// Prints the case's line, and says what is broken.
    ///
    /// # Errors
    ///
    /// What is not as it must be, a line each.
    pub fn conclude(self, case: &str) -> Result<(), String> {
        let holds = self.broken.is_empty();
        let mark = if holds { "held" } else { "BROKEN" };
        println!("{mark} {case}: {}", self.figures.join("; "));
        let mut total = total();
        total.cases += 1;
        total.broken += usize::from(!holds);
        if holds {
            Ok(())
        } else {
            Err(format!("{case}:\n  {}", self.broken.join("\n  ")))
        }
    }
}

/// Prints what all cases together gave.
pub fn summary() {
    let total = total();
    if total.cases > 0 {
        println!(
            "{} cases, {} broken; {} ledgers together: {}\n",
            total.cases,
            total.broken,
            total.ledgers,
            total.counts.unwrap_or_default()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_named_with_its_figures() {
        let mut findings = Findings::default();
        findings.at_most("lost", 0, 0);
        findings.at_most("twice", 3, 5);
        findings.within(
            "recovery",
            Some(Duration::from_secs(1)),
            Duration::from_secs(2),
        );
        findings.conclude("good").unwrap();
        let mut findings = Findings::default();
        findings.at_most("lost", 1, 0);
        findings.within("recovery", None, Duration::from_secs(2));
        findings.holds(false, "the group is gone");
        let broken = findings.conclude("bad").unwrap_err();
        assert_eq!(
            broken,
            "bad:\n  lost: 1, at most 0\n  recovery: None, at most 2.00s\n  the group is gone"
        );
    }
}
