//! How contenders are compared side by side, and how the result is shown.

use std::error::Error;

use serde_json::{Value, json};

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What one run of a contender has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// The figure that is compared.
    pub(crate) figure: f64,
    /// This process's CPU seconds per 100,000 messages, where they are measured.
    pub(crate) cpu: Option<f64>,
}

/// A line of a benchmark: contenders that do the same work. The first is the yardstick.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) contenders: Vec<Contender>,
}

/// Who does the work, and what that is to come to beside the yardstick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) target: Option<Target>,
    /// The largest ratio of CPU per message, where it is measured.
    pub(crate) cpu_target: Option<f64>,
}

impl Contender {
    /// One that is held to nothing: the yardstick, or one that is shown beside it.
    pub(crate) const fn free(name: &'static str) -> Self {
        Self {
            name,
            target: None,
            cpu_target: None,
        }
    }

    /// One that is held to a ratio of figures, and of CPU per message.
    pub(crate) const fn held(name: &'static str, target: Target, cpu: Option<f64>) -> Self {
        Self {
            name,
            target: Some(target),
            cpu_target: cpu,
        }
    }
}

/// What a contender's figure is to be, as a ratio to the yardstick's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }

    fn show(self, ratio: f64) -> String {
        let verdict = if self.is_met(ratio) { "met" } else { "MISSED" };
        match self {
            Self::AtLeast(least) => format!("≥ {least} {verdict}"),
            Self::AtMost(most) => format!("≤ {most} {verdict}"),
        }
    }
}

/// The order of contenders in a round: it rotates, so that none profits from its place.
pub(crate) fn turns(round: usize, contenders: usize) -> impl Iterator<Item = usize> {
    (0..contenders).map(move |turn| (round + turn) % contenders)
}

/// Lines and their samples.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<(Line, Vec<Vec<Sample>>)>,
    /// Facts that are no comparison.
    notes: Vec<String>,
}

impl Report {
    /// Adds a line, with each contender's samples, one a round.
    pub(crate) fn add(&mut self, line: Line, samples: Vec<Vec<Sample>>) {
        self.lines.push((line, samples));
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(crate) fn to_table(&self) -> String {
        let mut table = String::new();
        for (line, samples) in &self.lines {
            table += &format!(
                "{:<42} {:>12} {:>21} {:>6} {:>9} {:>6}\n",
                line.name, line.unit, "lowest–highest", "ratio", "CPU/100k", "ratio"
            );
            let yardstick = Spread::of(&samples[0]);
            for (contender, samples) in line.contenders.iter().zip(samples) {
                let name = contender.name;
                let spread = Spread::of(samples);
                let ratio = spread.median / yardstick.median;
                let range = format!("{:.0}–{:.0}", spread.lowest, spread.highest);
                let cpu = spread
                    .cpu
                    .map_or_else(String::new, |cpu| format!("{cpu:.3}"));
                let cpu_ratio = spread.cpu.zip(yardstick.cpu).map(|(ours, raw)| ours / raw);
                let shown = cpu_ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
                let target = contender.target;
                let mut verdict = target.map_or_else(String::new, |target| target.show(ratio));
                if let (Some(most), Some(ratio)) = (contender.cpu_target, cpu_ratio) {
                    verdict += &format!("; CPU {}", Target::AtMost(most).show(ratio));
                }
                let row = format!(
                    "  {name:<40} {:>12.0} {range:>21} {ratio:>6.2} {cpu:>9} {shown:>6}  {verdict}",
                    spread.median
                );
                table += row.trim_end();
                table.push('\n');
            }
        }
        for note in &self.notes {
            table += &format!("{note}\n");
        }
        table
    }

    pub(crate) fn to_json(&self) -> Value {
        let lines = self.lines.iter().map(|(line, samples)| {
            let yardstick = Spread::of(&samples[0]);
            let contenders = line.contenders.iter().zip(samples).map(|(contender, samples)| {
                let spread = Spread::of(samples);
                let target = contender.target.map(|target| match target {
                    Target::AtLeast(least) => json!({ "at_least": least }),
                    Target::AtMost(most) => json!({ "at_most": most }),
                });
                json!({
                    "name": contender.name, "target": target, "cpu_at_most": contender.cpu_target, "median": spread.median, "lowest": spread.lowest,
                    "highest": spread.highest, "ratio": spread.median / yardstick.median,
                    "cpu_seconds_per_100k": spread.cpu,
                    "cpu_ratio": spread.cpu.zip(yardstick.cpu).map(|(ours, raw)| ours / raw),
                })
            });
            json!({
                "line": line.name, "unit": line.unit,
                "contenders": contenders.collect::<Vec<_>>(),
            })
        });
        json!({ "lines": lines.collect::<Vec<_>>(), "notes": self.notes })
    }
}

struct Spread {
    lowest: f64,
    median: f64,
    highest: f64,
    cpu: Option<f64>,
}

impl Spread {
    fn of(samples: &[Sample]) -> Self {
        let sorted = |mut figures: Vec<f64>| {
            figures.sort_by(f64::total_cmp);
            figures
        };
        let figures = sorted(samples.iter().map(|sample| sample.figure).collect());
        let cpu = sorted(samples.iter().filter_map(|sample| sample.cpu).collect());
        Self {
            lowest: figures.first().copied().unwrap_or(f64::NAN),
            median: figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN),
            highest: figures.last().copied().unwrap_or(f64::NAN),
            cpu: cpu.get(cpu.len() / 2).copied(),
        }
    }
}
