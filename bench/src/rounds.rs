//! How contenders are timed side by side, and how the result is shown.

use std::time::Instant;

use serde_json::{Value, json};

/// One line of a benchmark: contenders that do the same work, the first of them the yardstick.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// The largest, or smallest, allowed ratio of the last contender's figure to the first's.
    pub(crate) target: Option<Target>,
    pub(crate) contenders: Vec<Contender>,
}

#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
}

/// What does the work, `batch` times per sample.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) work: Box<dyn FnMut()>,
}

impl Contender {
    pub(crate) fn new(name: &'static str, work: impl FnMut() + 'static) -> Self {
        Self {
            name,
            work: Box::new(work),
        }
    }
}

pub(crate) struct Report {
    lines: Vec<Measured>,
}

struct Measured {
    name: &'static str,
    target: Option<Target>,
    /// Nanoseconds per call: lowest, median, highest over rounds.
    figures: Vec<(&'static str, [f64; 3])>,
}

impl Measured {
    fn ratio(&self, contender: usize) -> f64 {
        self.figures[contender].1[1] / self.figures[0].1[1]
    }

    fn verdict(&self) -> &'static str {
        match self.target {
            None => "",
            Some(Target::AtMost(most)) if self.ratio(self.figures.len() - 1) <= most => "met",
            Some(_) => "MISSED",
        }
    }
}

/// Runs `rounds` rounds of `batch` calls of every contender, in rotating order.
pub(crate) fn measure(lines: Vec<Line>, rounds: usize, batch: u32) -> Report {
    let measured = lines.into_iter().map(|mut line| {
        let count = line.contenders.len();
        let mut samples = vec![Vec::with_capacity(rounds); count];
        for round in 0..=rounds {
            for turn in 0..count {
                let at = (round + turn) % count;
                let started = Instant::now();
                for _ in 0..batch {
                    (line.contenders[at].work)();
                }
                // The first round warms caches and branch predictors.
                if round > 0 {
                    samples[at].push(started.elapsed().as_nanos() as f64 / f64::from(batch));
                }
            }
        }
        let spread = |mut samples: Vec<f64>| {
            samples.sort_by(f64::total_cmp);
            [
                samples[0],
                samples[samples.len() / 2],
                samples[samples.len() - 1],
            ]
        };
        let names = line.contenders.iter().map(|contender| contender.name);
        Measured {
            name: line.name,
            target: line.target,
            figures: names.zip(samples.into_iter().map(spread)).collect(),
        }
    });
    Report {
        lines: measured.collect(),
    }
}

impl Report {
    pub(crate) fn to_table(&self) -> String {
        let mut table = format!(
            "{:<34} {:>10} {:>18} {:>7}  target\n",
            "", "ns/call", "lowest–highest", "ratio"
        );
        for line in &self.lines {
            table += &format!("{}\n", line.name);
            for (at, (name, [low, median, high])) in line.figures.iter().enumerate() {
                let last = at + 1 == line.figures.len();
                let target = match line.target {
                    Some(Target::AtMost(most)) if last => format!("  ≤ {most} {}", line.verdict()),
                    _ => String::new(),
                };
                let spread = format!("{low:.0}–{high:.0}");
                table += &format!(
                    "  {name:<32} {median:>10.0} {spread:>18} {:>7.2}{target}\n",
                    line.ratio(at)
                );
            }
        }
        table
    }

    pub(crate) fn to_json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            let figures = line.figures.iter().enumerate().map(|(at, (name, [low, median, high]))| {
                json!({ "name": name, "ns_median": median, "ns_lowest": low, "ns_highest": high, "ratio": line.ratio(at) })
            });
            let target = line.target.map(|Target::AtMost(most)| json!({ "at_most": most, "verdict": line.verdict() }));
            json!({ "line": line.name, "contenders": figures.collect::<Vec<_>>(), "target": target })
        });
        json!({ "benchmark": lines.collect::<Vec<_>>() })
    }
}
