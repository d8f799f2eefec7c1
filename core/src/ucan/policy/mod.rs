//! Conditions on an invocation's arguments (ucan-wg/delegation, "Policy").
//!
//! A policy is read once, strictly, and then asked. Asking is bounded by [`POLICY_WORK_MAX`] steps for all policies of a
//! request together, counted the same everywhere.

mod compare;
mod glob;
mod selector;

use std::cmp::Ordering;

use self::compare::Number;
use self::glob::Glob;
use self::selector::{Selector, View};
use super::Denied;
use crate::dag_cbor::Ipld;
use crate::limits::{POLICY_DEPTH_MAX, POLICY_STATEMENTS_MAX, POLICY_WORK_MAX};
use crate::task::kind;

/// A list of statements that all have to be true.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy(Vec<Statement>);

#[derive(Debug, Clone, PartialEq)]
enum Statement {
    Equal(Selector, Ipld),
    Unequal(Selector, Ipld),
    Order(Relation, Selector, Ipld),
    Like(Selector, Glob),
    Not(Box<Statement>),
    And(Vec<Statement>),
    Or(Vec<Statement>),
    All(Selector, Box<Statement>),
    Any(Selector, Box<Statement>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Steps that are left.
pub(super) struct Work(usize);

impl Default for Work {
    fn default() -> Self {
        Self(POLICY_WORK_MAX)
    }
}

impl Work {
    fn spend(&mut self, steps: usize) -> Result<(), Denied> {
        self.0 = self.0.checked_sub(steps).ok_or(Denied::TooMuchWork)?;
        Ok(())
    }

    /// Reading this many bytes: a word of them is one step.
    fn spend_bytes(&mut self, bytes: usize) -> Result<(), Denied> {
        self.spend(1 + bytes / 8)
    }
}

impl Policy {
    /// Reads a policy.
    pub fn from_ipld(value: Ipld) -> Result<Self, Denied> {
        let mut left = POLICY_STATEMENTS_MAX;
        statements(value, POLICY_DEPTH_MAX, &mut left).map(Self)
    }

    /// The policy as a value.
    pub fn to_ipld(&self) -> Ipld {
        list(&self.0)
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the arguments satisfy the policy.
    pub fn is_met(&self, args: &Ipld) -> Result<bool, Denied> {
        self.first_unmet(args, &mut Work::default()).map(|unmet| unmet.is_none())
    }

    /// The first statement that is not true.
    pub(super) fn first_unmet(&self, args: &Ipld, work: &mut Work) -> Result<Option<usize>, Denied> {
        for (at, statement) in self.0.iter().enumerate() {
            if !statement.holds(args, work)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

#[cold]
fn malformed<T>(what: String) -> Result<T, Denied> {
    Err(Denied::Malformed(format!("policy: {what}")))
}

fn statements(value: Ipld, depth: usize, left: &mut usize) -> Result<Vec<Statement>, Denied> {
    match value {
        Ipld::List(list) => list.into_iter().map(|value| statement(value, depth, left)).collect(),
        other => malformed(format!("expected a list of statements, got {}", kind(&other))),
    }
}

fn statement(value: Ipld, depth: usize, left: &mut usize) -> Result<Statement, Denied> {
    let Some(depth) = depth.checked_sub(1) else {
        return malformed(format!("expected at most {POLICY_DEPTH_MAX} levels of statements, got more"));
    };
    let Some(fewer) = left.checked_sub(1) else {
        return malformed(format!("expected at most {POLICY_STATEMENTS_MAX} statements, got more"));
    };
    *left = fewer;
    let Ipld::List(list) = value else { return malformed(format!("expected a statement, got {}", kind(&value))) };
    let mut list = list.into_iter();
    let Some(Ipld::String(operator)) = list.next() else {
        return malformed("expected a statement to begin with an operator".to_owned());
    };
    match (&operator[..], list.next(), list.next(), list.next()) {
        ("not", Some(inner), None, None) => Ok(Statement::Not(Box::new(statement(inner, depth, left)?))),
        ("and", Some(inner), None, None) => statements(inner, depth, left).map(Statement::And),
        ("or", Some(inner), None, None) => statements(inner, depth, left).map(Statement::Or),
        ("all", Some(selector), Some(inner), None) => {
            Ok(Statement::All(Selector::from_ipld(selector)?, Box::new(statement(inner, depth, left)?)))
        }
        ("any", Some(selector), Some(inner), None) => {
            Ok(Statement::Any(Selector::from_ipld(selector)?, Box::new(statement(inner, depth, left)?)))
        }
        (_, Some(selector), Some(value), None) => comparison(&operator, Selector::from_ipld(selector)?, value),
        _ => malformed(format!("expected the arguments of “{}”", shorten(&operator))),
    }
}

fn comparison(operator: &str, selector: Selector, value: Ipld) -> Result<Statement, Denied> {
    let relation = match operator {
        "==" => return Ok(Statement::Equal(selector, value)),
        "!=" => return Ok(Statement::Unequal(selector, value)),
        "like" => match value {
            Ipld::String(pattern) => return Ok(Statement::Like(selector, Glob::new(pattern))),
            other => return malformed(format!("expected “like” to have a pattern, got {}", kind(&other))),
        },
        "<" => Relation::Less,
        "<=" => Relation::LessOrEqual,
        ">" => Relation::Greater,
        ">=" => Relation::GreaterOrEqual,
        other => return malformed(format!("expected an operator, got “{}”", shorten(other))),
    };
    match value {
        Ipld::Integer(_) | Ipld::Float(_) => Ok(Statement::Order(relation, selector, value)),
        other => malformed(format!("expected “{operator}” to have a number, got {}", kind(&other))),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Relation {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Relation::Less => ordering.is_lt(),
            Relation::LessOrEqual => ordering.is_le(),
            Relation::Greater => ordering.is_gt(),
            Relation::GreaterOrEqual => ordering.is_ge(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Relation::Less => "<",
            Relation::LessOrEqual => "<=",
            Relation::Greater => ">",
            Relation::GreaterOrEqual => ">=",
        }
    }
}

impl Statement {
    fn holds(&self, args: &Ipld, work: &mut Work) -> Result<bool, Denied> {
        work.spend(1)?;
        match self {
            Statement::Not(inner) => inner.holds(args, work).map(|holds| !holds),
            Statement::And(inner) => every(inner.iter(), |inner| inner.holds(args, work)),
            // No alternatives at all is true by definition.
            Statement::Or(inner) if inner.is_empty() => Ok(true),
            Statement::Or(inner) => some(inner.iter(), |inner| inner.holds(args, work)),
            Statement::Equal(selector, _)
            | Statement::Unequal(selector, _)
            | Statement::Order(_, selector, _)
            | Statement::Like(selector, _)
            | Statement::All(selector, _)
            | Statement::Any(selector, _) => match selector.select(args, work)? {
                Some(found) => self.holds_for(&found, work),
                None => Ok(false),
            },
        }
    }

    fn holds_for(&self, found: &View<'_>, work: &mut Work) -> Result<bool, Denied> {
        match self {
            Statement::Equal(_, value) => found.equals(value, work),
            Statement::Unequal(_, value) => found.equals(value, work).map(|equal| !equal),
            Statement::Order(relation, _, value) => {
                let numbers = found.number().zip(Number::of(value));
                Ok(numbers.is_some_and(|(found, value)| relation.holds(found.compare(value))))
            }
            Statement::Like(_, glob) => match found.text() {
                Some(text) => work.spend_bytes(text.len() + glob.len()).map(|()| glob.matches(text)),
                None => Ok(false),
            },
            Statement::All(_, inner) => match found.items(work)? {
                Some(items) => every(items.into_iter(), |item| inner.holds(item, work)),
                None => Ok(false),
            },
            Statement::Any(_, inner) => match found.items(work)? {
                Some(items) => some(items.into_iter(), |item| inner.holds(item, work)),
                None => Ok(false),
            },
            Statement::Not(_) | Statement::And(_) | Statement::Or(_) => Ok(false),
        }
    }

    fn to_ipld(&self) -> Ipld {
        match self {
            Statement::Equal(selector, value) => triple("==", selector, value.clone()),
            Statement::Unequal(selector, value) => triple("!=", selector, value.clone()),
            Statement::Order(relation, selector, value) => triple(relation.as_str(), selector, value.clone()),
            Statement::Like(selector, glob) => triple("like", selector, text(glob.as_str())),
            Statement::All(selector, inner) => triple("all", selector, inner.to_ipld()),
            Statement::Any(selector, inner) => triple("any", selector, inner.to_ipld()),
            Statement::Not(inner) => Ipld::List(vec![text("not"), inner.to_ipld()]),
            Statement::And(inner) => Ipld::List(vec![text("and"), list(inner)]),
            Statement::Or(inner) => Ipld::List(vec![text("or"), list(inner)]),
        }
    }
}

fn text(text: &str) -> Ipld {
    Ipld::String(text.to_owned())
}

fn triple(operator: &str, selector: &Selector, value: Ipld) -> Ipld {
    Ipld::List(vec![text(operator), text(selector.as_str()), value])
}

fn list(statements: &[Statement]) -> Ipld {
    Ipld::List(statements.iter().map(Statement::to_ipld).collect())
}

/// As [`Iterator::all`], stopping at errors as well.
fn every<T>(items: impl Iterator<Item = T>, mut holds: impl FnMut(T) -> Result<bool, Denied>) -> Result<bool, Denied> {
    for item in items {
        if !holds(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As [`Iterator::any`], stopping at errors as well.
fn some<T>(items: impl Iterator<Item = T>, mut holds: impl FnMut(T) -> Result<bool, Denied>) -> Result<bool, Denied> {
    every(items, |item| holds(item).map(|holds| !holds)).map(|none| !none)
}
