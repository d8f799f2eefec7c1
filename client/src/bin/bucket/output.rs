//! What is printed, for people and for programs.

use std::io::{self, Write};
use std::process::ExitCode;

use bucket_client::{ClientError, Step};
use serde::Serialize;
use serde_json::{Value, json};

/// What a subcommand gives: the same for people and for programs.
#[derive(Debug)]
pub struct Answer {
    /// For programs: one object.
    pub json: Value,
    /// For people.
    pub text: String,
    /// The exit code: 0 when the answer is the one that was hoped for.
    pub exit: u8,
}

impl Answer {
    /// An answer of lines `name  value`.
    pub fn table(json: Value, lines: &[(&str, String)]) -> Self {
        Self { json, text: table(lines), exit: 0 }
    }

    /// The same answer, with exit code 1 if it isn't the one that was hoped for.
    pub fn judged(self, good: bool) -> Self {
        Self { exit: u8::from(!good), ..self }
    }

    /// An answer whose text was made by hand.
    pub fn text(json: Value, text: impl Into<String>) -> Self {
        Self { json, text: text.into(), exit: 0 }
    }
}

/// Lines `name  value`, aligned.
pub fn table(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<_> = lines.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    lines.join("\n")
}

/// A value in JSON that can't fail: the types of this program are maps of text and numbers.
pub fn to_json(value: &impl Serialize) -> Result<Value, ClientError> {
    serde_json::to_value(value).map_err(|error| ClientError::Input(error.to_string()))
}

/// Prints an answer to stdout.
pub fn print_answer(answer: &Answer, json: bool) -> ExitCode {
    let text = if json { answer.json.to_string() } else { answer.text.clone() };
    // A reader that went away, like `head`, is no error of ours.
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::from(answer.exit)
}

/// Prints an error: to stderr for people, to stdout as JSON.
pub fn print_error(error: &ClientError, json: bool) -> ExitCode {
    let (message, hint) = (error.to_string(), error.hint());
    if json {
        let mut object = json!({"code": error.code(), "message": message});
        if let Some(hint) = hint {
            object["hint"] = hint.into();
        }
        if let ClientError::Abort { code, .. } = error {
            object["exitCode"] = (*code).into();
        }
        let _ = writeln!(io::stdout(), "{}", json!({"error": object}));
    } else {
        let _ = writeln!(io::stderr(), "error: {message}");
        if let Some(hint) = hint {
            let _ = writeln!(io::stderr(), "  {hint}");
        }
    }
    ExitCode::FAILURE
}

/// Prints what clap found wrong with the command line. `--json` may be among what it could not read.
pub fn print_usage(error: &clap::Error) -> ExitCode {
    const USAGE: u8 = 2;
    if std::env::args_os().any(|arg| arg == "--json") {
        let text = error.render().to_string();
        // What comes after the first empty line is advice for people.
        let lines: Vec<_> = text.trim_start_matches("error: ").lines().take_while(|line| !line.is_empty()).collect();
        let message = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let error = json!({"code": "usage", "message": message, "hint": "See `bucket help`."});
        let _ = writeln!(io::stdout(), "{}", json!({ "error": error }));
    } else {
        let _ = error.print();
    }
    ExitCode::from(USAGE)
}

/// Prints a line of progress to stderr.
pub fn progress_line(step: &Step) {
    let _ = writeln!(io::stderr(), "{step}");
}
