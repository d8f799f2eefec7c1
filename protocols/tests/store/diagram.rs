//! The table as people read it: DIAGRAM.md is made from it, and from nothing else.
//!
//! `UPDATE_EXPECT=1 cargo test -p bucket-protocols --test store diagram` writes it anew.

use std::fmt::Write;

use bucket_core::effect::{Effect, Job};
use bucket_protocols::store::Status;
use bucket_protocols::store::effects::{Group, effects};
use bucket_protocols::store::table::{Kind, TABLE};
use expect_test::expect_file;

fn node(status: Status) -> &'static str {
    match status {
        Status::NotFound => r#"NotFound((" "))"#,
        Status::Active => r#"Active(["active"])"#,
        Status::Receiving => r#"Receiving(["receiving"])"#,
        Status::Ok => r#"Ok(["ok: stored"])"#,
        Status::Exceeds => r#"Exceeds(["error: exceeds limit"])"#,
        Status::Expired => r#"Expired(["error: expired"])"#,
    }
}

fn title(status: Status) -> &'static str {
    match status {
        Status::NotFound => "not found",
        Status::Exceeds => "exceeds limit",
        Status::Expired => "expired",
        other => other.name(),
    }
}

fn event(kind: Kind) -> &'static str {
    match kind {
        Kind::Add => "store/add",
        Kind::AddAgain => "store/add, active for over 2880 epochs or stored by another provider",
        Kind::Exceed => "store/exceed",
        Kind::Receive => "store/receive",
        Kind::Expire => "store/expire",
        Kind::Put => "store/put",
    }
}

fn group(group: &Group) -> &'static str {
    match group {
        Group::Activation => "activation",
        Group::Upload => "upload",
        Group::Deallocation => "deallocation",
    }
}

fn groups(groups: &[Group]) -> String {
    groups.iter().map(group).collect::<Vec<_>>().join(" + ")
}

fn job(job: &Job) -> String {
    let args: Vec<_> = job.args.keys().map(String::as_str).collect();
    match args.is_empty() {
        true => job.cmd.clone(),
        false => format!("{}({})", job.cmd, args.join(", ")),
    }
}

fn words(effect: &Effect) -> String {
    match effect {
        Effect::Do(one) => job(one),
        Effect::And(a, b) => match **b {
            Effect::And(..) => format!("{} and ({})", words(a), words(b)),
            _ => format!("{} and {}", words(a), words(b)),
        },
        Effect::Catch(a) => format!("catch({})", words(a)),
        Effect::Try(a) => format!("try({})", words(a)),
    }
}

fn diagram() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "# The state machine of `store`\n")?;
    writeln!(text, "Made from `table.rs` and `effects.rs` by a test. To write it anew:")?;
    writeln!(text, "`UPDATE_EXPECT=1 cargo test -p bucket-protocols --test store diagram`\n")?;
    writeln!(
        text,
        "Events that aren't drawn change nothing. In the second line of an arrow stand the effects that it begins.\n"
    )?;
    writeln!(text, "```mermaid\nflowchart LR")?;
    for status in Status::ALL {
        writeln!(text, "    {}", node(status))?;
    }
    for (kind, steps) in TABLE {
        for (from, step) in Status::ALL.into_iter().zip(steps) {
            let Some((to, begins)) = step else { continue };
            let effects = if begins.is_empty() { String::new() } else { format!("<br>{}", groups(begins)) };
            writeln!(text, "    {from:?} -- \"{}{effects}\" --> {to:?}", event(kind))?;
        }
    }
    writeln!(text, "```\n")?;

    let titles: Vec<_> = Status::ALL.into_iter().map(title).collect();
    writeln!(text, "| event | {} |\n|---|---|---|---|---|---|---|", titles.join(" | "))?;
    for (kind, steps) in TABLE {
        let cells = steps.map(|step| match step {
            None => "same".to_owned(),
            Some((to, [])) => format!("**{}**", title(to)),
            Some((to, begins)) => format!("**{}**; {}", title(to), groups(begins)),
        });
        writeln!(text, "| {} | {} |", event(kind), cells.join(" | "))?;
    }

    writeln!(text, "\n| number | begins with | effect |\n|---|---|---|")?;
    for each in [Group::Activation, Group::Upload, Group::Deallocation] {
        for (key, effect) in effects(each, 1, 1) {
            writeln!(text, "| {} | {} | {} |", key.number, group(&each), words(&effect))?;
        }
    }
    Ok(text)
}

#[test]
fn the_diagram_is_the_table_s() {
    expect_file!["../../src/store/DIAGRAM.md"].assert_eq(&diagram().unwrap());
}
