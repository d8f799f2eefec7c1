//! Figures that people can make themselves: `scripts/bench [name…] [--json]`.
//!
//! Each row is a value against a peer or a floor that was measured in the same run; the ratio is what counts.

mod decode;
mod gas;
mod store;
mod sync;
mod tasks;

use std::process::ExitCode;

/// One figure.
pub struct Row {
    /// What was measured, like `gas/invoke/1000`.
    pub bench: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// Compared with what.
    pub against: String,
    /// How much of that, in the same unit.
    pub against_value: f64,
}

/// Prints rows as they come, so that a long bench doesn't look like a hang.
pub struct Report {
    json: bool,
}

impl Report {
    /// Prints a row.
    pub fn row(&self, row: Row) {
        let Row { bench, value, unit, against, against_value } = row;
        let ratio = value / against_value;
        if self.json {
            let line = serde_json::json!({
                "bench": bench, "value": value, "unit": unit,
                "against": against, "against_value": against_value, "ratio": ratio,
            });
            println!("{line}");
        } else {
            println!("{bench:<44} {value:>15.0} {unit:<8} {against:<32} {against_value:>15.0} {ratio:>8.3}");
        }
    }

    /// Says what is being prepared.
    pub fn progress(&self, what: &str) {
        eprintln!("… {what}");
    }
}

type Bench = (&'static str, fn(&Report) -> anyhow::Result<()>);

const BENCHES: [Bench; 5] =
    [("gas", gas::run), ("tasks", tasks::run), ("decode", decode::run), ("sync", sync::run), ("store", store::run)];

fn main() -> ExitCode {
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let known = BENCHES.map(|(name, _)| name);
    let unknown =
        flags.iter().find(|flag| *flag != "--json").or(names.iter().find(|name| !known.contains(&name.as_str())));
    if let Some(unknown) = unknown {
        eprintln!("expected [{}] [--json], got {unknown}", known.join("] ["));
        return ExitCode::FAILURE;
    }
    let report = Report { json: flags.iter().any(|flag| flag == "--json") };
    if !report.json {
        println!("{:<44} {:>15} {:<8} {:<32} {:>15} {:>8}", "bench", "value", "unit", "against", "", "ratio");
    }
    for (name, bench) in BENCHES {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        if let Err(error) = bench(&report) {
            eprintln!("{name}: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
