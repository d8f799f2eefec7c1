//! Effects as values, with names for people and workers, and packed for state, where each byte costs.

use std::collections::BTreeMap;

use super::{AWAIT, AWAIT_OK, Effect, Job};
use crate::dag_cbor::{self, Ipld, map};
use crate::limits::{EFFECT_DEPTH_MAX, EFFECT_NODES_MAX};
use crate::task::{is_command, kind};

/// Why a value is not an effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an effect: {0}")]
pub struct NotEffect(String);

fn not<T>(why: impl Into<String>) -> Result<T, NotEffect> {
    Err(NotEffect(why.into()))
}

/// How much more an effect may hold.
struct Left {
    nodes: usize,
}

impl Left {
    /// Counts a node; answers how deep those in it may be.
    fn node(&mut self, depth: usize) -> Result<usize, NotEffect> {
        self.nodes = match self.nodes.checked_sub(1) {
            Some(nodes) => nodes,
            None => return not(format!("expected at most {EFFECT_NODES_MAX} jobs and combinators, got more")),
        };
        depth.checked_sub(1).map_or_else(|| not(format!("expected at most {EFFECT_DEPTH_MAX} levels, got more")), Ok)
    }
}

impl Effect {
    /// Tells whether it is within bounds and can be encoded.
    pub fn check(&self) -> Result<(), NotEffect> {
        fn walk(effect: &Effect, left: &mut Left, depth: usize) -> Result<(), NotEffect> {
            let depth = left.node(depth)?;
            match effect {
                Effect::Do(job) => job.check(),
                Effect::And(a, b) => walk(a, left, depth).and_then(|()| walk(b, left, depth)),
                Effect::Catch(a) | Effect::Try(a) => walk(a, left, depth),
            }
        }
        walk(self, &mut Left { nodes: EFFECT_NODES_MAX }, EFFECT_DEPTH_MAX)
    }

    /// The effect as data with names.
    pub fn to_ipld(&self) -> Ipld {
        match self {
            Self::Do(Job { cmd, args }) => map([("do", Ipld::String(cmd.clone())), ("args", Ipld::Map(args.clone()))]),
            Self::And(a, b) => map([("and", Ipld::List(vec![a.to_ipld(), b.to_ipld()]))]),
            Self::Catch(a) => map([("catch", a.to_ipld())]),
            Self::Try(a) => map([("try", a.to_ipld())]),
        }
    }

    /// Reads what [`Effect::to_ipld`] wrote, and nothing else.
    pub fn from_ipld(value: Ipld) -> Result<Self, NotEffect> {
        read(value, &mut Left { nodes: EFFECT_NODES_MAX }, EFFECT_DEPTH_MAX)
    }
}

impl Job {
    fn check(&self) -> Result<(), NotEffect> {
        if !is_command(&self.cmd) {
            return not(format!(
                "expected a command like /kv/put, got “{}”",
                self.cmd.chars().take(80).collect::<String>()
            ));
        }
        let args = Ipld::Map(self.args.clone());
        dag_cbor::check(&args).or_else(not)?;
        promises(&args)
    }
}

/// A promise that nobody would keep is not taken for data.
fn promises(value: &Ipld) -> Result<(), NotEffect> {
    match value {
        Ipld::Map(map) => {
            if let Some(field) = map.keys().find(|field| field.starts_with(AWAIT))
                && !(field == AWAIT_OK && map.len() == 1 && matches!(map[field], Ipld::Link(_)))
            {
                let field: String = field.chars().take(80).collect();
                return not(format!("expected no other promise than {{\"{AWAIT_OK}\": link}}, got one with “{field}”"));
            }
            map.values().try_for_each(promises)
        }
        Ipld::List(list) => list.iter().try_for_each(promises),
        _ => Ok(()),
    }
}

fn checked(cmd: Ipld, args: Ipld) -> Result<Job, NotEffect> {
    match (cmd, args) {
        (Ipld::String(cmd), Ipld::Map(args)) => {
            let job = Job { cmd, args };
            job.check().map(|()| job)
        }
        (cmd, args) => {
            not(format!("expected a command and a map of arguments, got {} and {}", kind(&cmd), kind(&args)))
        }
    }
}

fn read(value: Ipld, left: &mut Left, depth: usize) -> Result<Effect, NotEffect> {
    let depth = left.node(depth)?;
    let Ipld::Map(mut map) = value else { return not(format!("expected a map, got {}", kind(&value))) };
    let len = map.len();
    let mut take = |field| map.remove(field);
    if let (2, Some(cmd), Some(args)) = (len, take("do"), take("args")) {
        return checked(cmd, args).map(Effect::Do);
    }
    match (len, take("and"), take("catch"), take("try")) {
        (1, Some(Ipld::List(both)), ..) => match <[Ipld; 2]>::try_from(both) {
            Ok([a, b]) => Ok(read(a, left, depth)?.and(read(b, left, depth)?)),
            Err(both) => not(format!("expected two effects of “and”, got {}", both.len())),
        },
        (1, None, Some(a), _) => Ok(read(a, left, depth)?.catch()),
        (1, None, None, Some(a)) => Ok(read(a, left, depth)?.try_()),
        _ => not("expected one of {do, args}, {and: [a, b]}, {catch} and {try}, got another map"),
    }
}

/// Effects with few bytes: a job is its command, or `{command: args}` when it has arguments; where it stands again, its number
/// among all jobs of these effects. `[a, b]` is "and", `[null, a]` "catch", `[a]` "try".
pub fn pack<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> Vec<Ipld> {
    fn write<'a>(effect: &'a Effect, jobs: &mut Vec<&'a Job>) -> Ipld {
        match effect {
            Effect::Do(job) => {
                if let Some(at) = jobs.iter().position(|known| *known == job) {
                    return Ipld::Integer(at as i128);
                }
                jobs.push(job);
                match job.args.is_empty() {
                    true => Ipld::String(job.cmd.clone()),
                    false => map([(&*job.cmd, Ipld::Map(job.args.clone()))]),
                }
            }
            Effect::And(a, b) => Ipld::List(vec![write(a, jobs), write(b, jobs)]),
            Effect::Catch(a) => Ipld::List(vec![Ipld::Null, write(a, jobs)]),
            Effect::Try(a) => Ipld::List(vec![write(a, jobs)]),
        }
    }
    let mut jobs = vec![];
    effects.into_iter().map(|effect| write(effect, &mut jobs)).collect()
}

/// Reads what [`pack`] wrote, and nothing else.
pub fn unpack(packed: Vec<Ipld>) -> Result<Vec<Effect>, NotEffect> {
    let mut jobs = vec![];
    let one = |value| unpack_one(value, &mut jobs, &mut Left { nodes: EFFECT_NODES_MAX }, EFFECT_DEPTH_MAX);
    packed.into_iter().map(one).collect()
}

fn unpack_one(value: Ipld, jobs: &mut Vec<Job>, left: &mut Left, depth: usize) -> Result<Effect, NotEffect> {
    let depth = left.node(depth)?;
    let new = |job: Job, jobs: &mut Vec<Job>| {
        if jobs.contains(&job) {
            return not(format!("expected the number of the job {}, got it once more", job.cmd));
        }
        jobs.push(job.clone());
        Ok(Effect::Do(job))
    };
    match value {
        Ipld::Integer(at) => match usize::try_from(at).ok().and_then(|at| jobs.get(at)) {
            Some(job) => Ok(Effect::Do(job.clone())),
            None => not(format!("expected the number of one of {} jobs, got {at}", jobs.len())),
        },
        Ipld::String(_) => new(checked(value, Ipld::Map(BTreeMap::new()))?, jobs),
        Ipld::Map(map) => match (map.len(), map.into_iter().next()) {
            (1, Some((cmd, args))) if args != Ipld::Map(BTreeMap::new()) => {
                new(checked(Ipld::String(cmd), args)?, jobs)
            }
            (len, _) => not(format!("expected one command with arguments, got {len} or none of them")),
        },
        Ipld::List(list) => {
            let mut parts = list.into_iter();
            match (parts.next(), parts.next(), parts.next()) {
                (Some(Ipld::Null), Some(a), None) => Ok(unpack_one(a, jobs, left, depth)?.catch()),
                (Some(a), Some(b), None) => {
                    let a = unpack_one(a, jobs, left, depth)?;
                    Ok(a.and(unpack_one(b, jobs, left, depth)?))
                }
                (Some(a), None, _) => Ok(unpack_one(a, jobs, left, depth)?.try_()),
                _ => not("expected a list of one or two effects"),
            }
        }
        other => not(format!("expected a job or a combination, got {}", kind(&other))),
    }
}
