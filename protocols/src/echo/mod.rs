//! `echo`: answers what it was asked. It keeps nothing; copy this folder to start a protocol.
//!
//! | command | args | out |
//! |---|---|---|
//! | `/echo` | anything | the args |
//! | `/echo/fail` | `{message}` | the failure `Asked` with that message |
//! | `/echo/then` | `{tasks: [{cmd, args, nonce?, sub?, at?} \| {signed, at?}], out?}` | `out`, and the tasks are scheduled |
//! | `/echo/peers` | anything | `{at, of}`: its place among the calls that were handed over together |
//!
//! A task of `/echo/then` is for this bucket, or for `sub`, and in the instance of the actor whose id is `at`. `signed` links
//! to an invocation in the same CAR that somebody signed.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bucket_core::dag_cbor::{Ipld, map};
use bucket_core::error::{Abort, Error, Failure};
use bucket_core::limits::FORKS_MAX;
use bucket_core::protocol::{Ask, Call, Cx, Fork, Protocol, Reply, Weight};
use bucket_core::task::Task;

use crate::args::{self, Args};

/// The protocol.
pub struct Echo;

impl Protocol for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn commands(&self) -> &'static [&'static str] {
        &["/echo", "/echo/fail", "/echo/then", "/echo/peers"]
    }

    fn weight(&self, task: &Task) -> Weight {
        let Some(Ipld::List(tasks)) = task.args.get("tasks").filter(|_| task.cmd == "/echo/then") else {
            return Weight::NONE;
        };
        // More are a failure.
        if tasks.len() > FORKS_MAX {
            return Weight::NONE;
        }
        let far = |task: &&Ipld| matches!(task, Ipld::Map(task) if task.contains_key("at"));
        Weight { forks: tasks.len(), sends: tasks.iter().filter(far).count(), ..Weight::NONE }
    }

    fn execute(&self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
        echo(cx, call, 0, 1)
    }

    fn execute_all(&self, cx: &mut Cx<'_>, calls: &[Call<'_>]) -> Result<Vec<Reply>, Abort> {
        let answer = |(at, call)| cx.attempt(call, |cx| echo(cx, call, at, calls.len()));
        calls.iter().enumerate().map(answer).collect()
    }
}

fn echo(cx: &mut Cx<'_>, call: &Call<'_>, at: usize, of: usize) -> Result<Ipld, Error> {
    match call.task.cmd.as_str() {
        "/echo/fail" => Err(fail(&call.task.args)?.into()),
        "/echo/then" => then(cx, call),
        "/echo/peers" => Ok(map([("at", at), ("of", of)].map(|(key, n)| (key, Ipld::Integer(n as i128))))),
        _ => Ok(Ipld::Map(call.task.args.clone())),
    }
}

fn fail(fields: &BTreeMap<String, Ipld>) -> Result<Failure, Failure> {
    let mut fields = Args::new(fields);
    let message = args::string("message", fields.take("message")?)?;
    fields.end()?;
    Ok(Failure::new("Asked", message))
}

fn then(cx: &mut Cx<'_>, call: &Call<'_>) -> Result<Ipld, Error> {
    let mut fields = Args::new(&call.task.args);
    let tasks = args::list("tasks", fields.take("tasks")?)?;
    let out = fields.maybe("out").cloned().unwrap_or(Ipld::Null);
    fields.end()?;
    for (place, task) in tasks.iter().enumerate() {
        let fork = continuation(cx, call, place, args::map("tasks", task)?)?;
        cx.fork(fork)?;
    }
    Ok(out)
}

fn continuation(cx: &Cx<'_>, call: &Call<'_>, place: usize, fields: &BTreeMap<String, Ipld>) -> Result<Fork, Failure> {
    let mut fields = Args::new(fields);
    let at = match fields.maybe("at") {
        Some(Ipld::Integer(at)) => {
            Some(u64::try_from(*at).map_err(|_| Failure::args("expected “at” to be an actor's id"))?)
        }
        Some(other) => return Err(args::wrong("at", "an actor's id", other)),
        None => None,
    };
    let ask = match fields.maybe("signed") {
        Some(Ipld::Link(cid)) => Ask::Signed(*cid),
        Some(other) => return Err(args::wrong("signed", "a link", other)),
        None => Ask::Task(task(cx, call, place, &mut fields)?),
    };
    fields.end()?;
    Ok(Fork { ask, at })
}

/// Without a nonce of its own a continuation takes one that no other has: part of its cause's id and its place.
fn task(cx: &Cx<'_>, call: &Call<'_>, place: usize, fields: &mut Args<'_>) -> Result<Task, Failure> {
    let cmd = args::string("cmd", fields.take("cmd")?)?.to_owned();
    let args = args::map("args", fields.take("args")?)?.clone();
    let sub = match fields.maybe("sub") {
        Some(sub) => args::string("sub", sub)?.parse().map_err(|error| Failure::args(format!("sub: {error}")))?,
        None => cx.bucket().clone(),
    };
    let nonce = match fields.maybe("nonce") {
        Some(Ipld::Bytes(nonce)) => nonce.clone(),
        Some(other) => return Err(args::wrong("nonce", "bytes", other)),
        None => [&call.id.0[..12], &(place as u32).to_be_bytes()].concat(),
    };
    Ok(Task { sub, cmd, args, nonce })
}
