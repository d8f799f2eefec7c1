//! A cell's bytes: `[state, [[attempt, number, since, effect], …]]` in strict DAG-CBOR, effects packed.

use std::fmt;

use fvm_shared::clock::ChainEpoch;

use super::Path;
use crate::dag_cbor::{self, Ipld};
use crate::effect::{self, Effect};
use crate::error::{Abort, Error, Failure};
use crate::limits::CELL_BYTES_MAX;
use crate::task::kind;

/// An entry's state with the effects that are still to be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The state, as its protocol writes it.
    pub state: Ipld,
    /// The effects, oldest first.
    pub outbox: Vec<Item>,
}

/// Names an effect of an entry: each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The attempt that asked for it.
    pub attempt: u64,
    /// Its number among that attempt's.
    pub number: u64,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.attempt, self.number)
    }
}

/// An effect that is to be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its name.
    pub key: Key,
    /// The epoch since when it waits.
    pub since: ChainEpoch,
    /// What is to be done.
    pub effect: Effect,
}

impl Cell {
    /// The cell's bytes. A [`Failure`] `CellTooLarge` when they are more than [`CELL_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let effects = effect::pack(self.outbox.iter().map(|item| &item.effect));
        let item = |(item, effect): (&Item, Ipld)| {
            let Item { key, since, .. } = item;
            let numbers = [i128::from(key.attempt), i128::from(key.number), i128::from(*since)];
            Ipld::List(numbers.map(Ipld::Integer).into_iter().chain([effect]).collect())
        };
        let outbox = Ipld::List(self.outbox.iter().zip(effects).map(item).collect());
        let cell = Ipld::List(vec![self.state.clone(), outbox]);
        dag_cbor::check(&cell).map_err(|why| Abort::State(format!("a cell that can't be encoded: {why}")))?;
        let bytes = dag_cbor::encode(&cell);
        match bytes.len() {
            0..=CELL_BYTES_MAX => Ok(bytes),
            got => {
                let message =
                    format!("expected an entry and its effects to take at most {CELL_BYTES_MAX} bytes, got {got}");
                Err(Failure::new("CellTooLarge", message).into())
            }
        }
    }

    /// Reads the cell at `path`, which the machine wrote.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, Abort> {
        Self::read(bytes).map_err(|why| Abort::State(format!("cell of {} in {}: {why}", path.link, path.bucket)))
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let [state, outbox] = list(dag_cbor::decode(bytes).map_err(|error| error.to_string())?)?;
        let Ipld::List(items) = outbox else { return Err(format!("expected an outbox, got {}", kind(&outbox))) };
        let (mut heads, mut effects) = (vec![], vec![]);
        for item in items {
            let [attempt, number, since, effect] = list(item)?;
            let key = Key { attempt: integer(&attempt)?, number: integer(&number)? };
            heads.push((key, integer(&since)?));
            effects.push(effect);
        }
        let effects = effect::unpack(effects).map_err(|error| error.to_string())?;
        let item = |((key, since), effect)| Item { key, since, effect };
        Ok(Self { state, outbox: heads.into_iter().zip(effects).map(item).collect() })
    }
}

fn list<const N: usize>(value: Ipld) -> Result<[Ipld; N], String> {
    let Ipld::List(list) = value else { return Err(format!("expected a list of {N}, got {}", kind(&value))) };
    list.try_into().map_err(|list: Vec<Ipld>| format!("expected a list of {N}, got one of {}", list.len()))
}

fn integer<T: TryFrom<i128>>(value: &Ipld) -> Result<T, String> {
    let Ipld::Integer(n) = value else { return Err(format!("expected an integer, got {}", kind(value))) };
    T::try_from(*n).map_err(|_| format!("expected an integer of 64 bits, got {n}"))
}
