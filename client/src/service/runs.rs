//! What a service has run, kept through every restart: each task once, with its receipt.
//!
//! redb commits are durable when they return, so a service that is killed knows afterwards all that it knew before.

use std::collections::BTreeMap;
use std::path::Path;

use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::task::Task;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::error::ClientError;

/// `[space, CID of the task]` → `{n, task, receipt, added, last, push, final}`.
const RUNS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("runs");

/// `[space, key]` → `[CID of the task, n, id of the receipt, rank]`: what was said last under a key.
const SAID: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("said");

/// A space → how many runs it had.
const COUNT: TableDefinition<'_, &str, u64> = TableDefinition::new("count");

/// A task that was run for a space.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The task's CID.
    pub ran: Cid,
    /// Which run of the space it is, from 1.
    pub n: u64,
    /// What was to be done.
    pub task: Task,
    /// The newest receipt: a CAR. None as long as there is nothing to say.
    pub receipt: Option<Vec<u8>>,
    /// Whether a blob was added to the bucket's store. What is no blob needs nothing there.
    pub added: bool,
    /// Whether no other receipt will follow.
    pub last: bool,
    /// How far the newest receipt, if any, is on its way into the space. If somebody takes it out again, that is their affair.
    pub written: Written,
}

/// Whether the space says what a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Not yet.
    No,
    /// A push did it, of this id at this height. A reorganisation may take it back.
    By(CarId, i64),
    /// For good; or there is nothing to write.
    Final,
}

/// What a key's newest receipt says. One that says more is not followed by one that says less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// No.
    Refused,
    /// Not yet.
    Pending,
    /// Yes.
    Done,
}

/// The newest receipt under a key of the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Whose.
    pub ran: Cid,
    /// The run's number.
    pub n: u64,
    /// Its id.
    pub id: CarId,
    /// What it says.
    pub rank: Rank,
}

/// The newest receipts, by their keys.
pub type Keys = BTreeMap<String, Said>;

impl Run {
    /// The newest receipt's id.
    pub fn id(&self) -> Option<CarId> {
        self.receipt.as_deref().map(CarId::of::<NativeHasher>)
    }

    fn encode(&self) -> Vec<u8> {
        let written = match self.written {
            Written::No => Ipld::Bool(false),
            Written::By(push, height) => Ipld::List(vec![Ipld::Link(push.to_cid()), Ipld::Integer(height.into())]),
            Written::Final => Ipld::Bool(true),
        };
        let fields = [
            ("n", Ipld::Integer(self.n.into())),
            ("task", self.task.to_ipld()),
            ("receipt", self.receipt.clone().map_or(Ipld::Null, Ipld::Bytes)),
            ("added", Ipld::Bool(self.added)),
            ("last", Ipld::Bool(self.last)),
            ("written", written),
        ];
        dag_cbor::encode(&Ipld::Map(fields.map(|(field, value)| (field.to_owned(), value)).into()))
    }

    fn decode(ran: Cid, bytes: &[u8]) -> Option<Self> {
        let Ok(Ipld::Map(mut fields)) = dag_cbor::decode(bytes) else { return None };
        let task = Task::from_ipld(fields.remove("task")?).ok()?;
        let Ipld::Integer(n) = fields.remove("n")? else { return None };
        let receipt = match fields.remove("receipt")? {
            Ipld::Bytes(receipt) => Some(receipt),
            Ipld::Null => None,
            _ => return None,
        };
        let written = match fields.remove("written")? {
            Ipld::Bool(false) => Written::No,
            Ipld::Bool(true) => Written::Final,
            Ipld::List(push) => match &push[..] {
                [Ipld::Link(push), Ipld::Integer(height)] => {
                    Written::By(CarId::try_from(push).ok()?, i64::try_from(*height).ok()?)
                }
                _ => return None,
            },
            _ => return None,
        };
        let mut flag = |name: &str| if let Some(Ipld::Bool(set)) = fields.remove(name) { Some(set) } else { None };
        let (added, last) = (flag("added")?, flag("last")?);
        Some(Self { ran, n: u64::try_from(n).ok()?, task, receipt, added, last, written })
    }
}

impl Said {
    fn encode(&self) -> Vec<u8> {
        let rank = Ipld::Integer(self.rank as i128);
        dag_cbor::encode(&Ipld::List(vec![
            Ipld::Link(self.ran),
            Ipld::Integer(self.n.into()),
            Ipld::Link(self.id.to_cid()),
            rank,
        ]))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let Ok(Ipld::List(parts)) = dag_cbor::decode(bytes) else { return None };
        let [Ipld::Link(ran), Ipld::Integer(n), Ipld::Link(id), Ipld::Integer(rank)] = &parts[..] else { return None };
        let rank = [Rank::Refused, Rank::Pending, Rank::Done].into_iter().find(|known| *known as i128 == *rank)?;
        Some(Self { ran: *ran, n: u64::try_from(*n).ok()?, id: CarId::try_from(id).ok()?, rank })
    }
}

/// All runs of a service.
pub struct Runs {
    db: Database,
}

fn failed(error: impl std::fmt::Display) -> ClientError {
    ClientError::Input(format!("the service's record of runs: {error}"))
}

impl Runs {
    /// The record at `path`; a new one where there is none.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        let db = Database::create(path).map_err(failed)?;
        let begun = db.begin_write().map_err(failed)?;
        begun.open_table(RUNS).map_err(failed)?;
        begun.open_table(SAID).map_err(failed)?;
        begun.open_table(COUNT).map_err(failed)?;
        begun.commit().map_err(failed)?;
        Ok(Self { db })
    }

    /// What came of a task.
    pub fn get(&self, space: &BucketId, ran: &Cid) -> Result<Option<Run>, ClientError> {
        let read = self.db.begin_read().map_err(failed)?;
        let table = read.open_table(RUNS).map_err(failed)?;
        let found = table.get((space.as_str(), &ran.to_bytes()[..])).map_err(failed)?;
        found
            .map(|row| Run::decode(*ran, row.value()).ok_or_else(|| failed(format!("run {ran} is broken"))))
            .transpose()
    }

    /// How many runs a space had.
    pub fn count(&self, space: &BucketId) -> Result<u64, ClientError> {
        let read = self.db.begin_read().map_err(failed)?;
        let found = read.open_table(COUNT).map_err(failed)?.get(space.as_str()).map_err(failed)?;
        Ok(found.map_or(0, |count| count.value()))
    }

    /// What was said last under each of some keys.
    pub fn said(&self, space: &BucketId, keys: impl IntoIterator<Item = String>) -> Result<Keys, ClientError> {
        let read = self.db.begin_read().map_err(failed)?;
        let table = read.open_table(SAID).map_err(failed)?;
        let mut said = Keys::new();
        for key in keys {
            let Some(row) = table.get((space.as_str(), key.as_str())).map_err(failed)? else { continue };
            let last =
                Said::decode(row.value()).ok_or_else(|| failed(format!("what was said under {key} is broken")))?;
            said.insert(key, last);
        }
        Ok(said)
    }

    /// Keeps what came of a task.
    pub fn put(&self, space: &BucketId, run: &Run) -> Result<(), ClientError> {
        self.put_all(space, [run], &Keys::new())
    }

    /// Keeps what came of tasks, and what was said under keys, of all or of none.
    pub fn put_all<'a>(
        &self,
        space: &BucketId,
        runs: impl IntoIterator<Item = &'a Run>,
        said: &Keys,
    ) -> Result<(), ClientError> {
        let write = self.db.begin_write().map_err(failed)?;
        {
            let mut table = write.open_table(RUNS).map_err(failed)?;
            let mut counts = write.open_table(COUNT).map_err(failed)?;
            let mut count = counts.get(space.as_str()).map_err(failed)?.map_or(0, |count| count.value());
            for run in runs {
                let key = (space.as_str(), &run.ran.to_bytes()[..]);
                table.insert(key, &run.encode()[..]).map_err(failed)?;
                count = count.max(run.n);
            }
            counts.insert(space.as_str(), count).map_err(failed)?;
            let mut table = write.open_table(SAID).map_err(failed)?;
            for (key, last) in said {
                table.insert((space.as_str(), key.as_str()), &last.encode()[..]).map_err(failed)?;
            }
        }
        write.commit().map_err(failed)
    }

    /// Runs that another receipt may follow, or whose newest receipt isn't in the space for good.
    pub fn open_ends(&self, space: &BucketId) -> Result<BTreeMap<Cid, Run>, ClientError> {
        let read = self.db.begin_read().map_err(failed)?;
        let table = read.open_table(RUNS).map_err(failed)?;
        let mut open = BTreeMap::new();
        for row in table.range((space.as_str(), &[][..])..).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            let (owner, ran) = key.value();
            if owner != space.as_str() {
                break;
            }
            let ran = Cid::try_from(ran).map_err(failed)?;
            let run = Run::decode(ran, value.value()).ok_or_else(|| failed(format!("run {ran} is broken")))?;
            if !run.last || run.written != Written::Final {
                open.insert(ran, run);
            }
        }
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use bucket_core::cid::{DAG_CBOR, block_cid};

    use super::*;

    fn run(n: u8, last: bool, written: Written) -> Run {
        let sub: BucketId = "did:key:zSpace".parse().unwrap();
        let task = Task { sub, cmd: "/blob/add".into(), args: BTreeMap::new(), nonce: vec![n] };
        let ran = block_cid::<NativeHasher>(DAG_CBOR, &dag_cbor::encode(&task.to_ipld()));
        let receipt = n.is_multiple_of(2).then(|| vec![n; 9]);
        Run { ran, n: n.into(), task, receipt, added: true, last, written }
    }

    #[test]
    fn runs_outlive_the_process_and_stay_with_their_space() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.redb");
        let [a, b]: [BucketId; 2] = ["did:key:zA", "did:key:zB"].map(|did| did.parse().unwrap());
        let by = Written::By(CarId([7; 32]), 9);
        let all =
            [run(0, true, Written::Final), run(1, false, Written::Final), run(2, true, Written::No), run(4, true, by)];
        let said = Said { ran: all[2].ran, n: 2, id: CarId([8; 32]), rank: Rank::Done };
        let keys = Keys::from([("/blob/a".to_owned(), said)]);
        Runs::open(&path).unwrap().put_all(&a, &all, &keys).unwrap();
        let runs = Runs::open(&path).unwrap();
        let asked = || ["/blob/a", "/blob/b"].map(str::to_owned);
        assert_eq!((runs.said(&a, asked()).unwrap(), runs.count(&a).unwrap()), (keys, 4));
        assert_eq!((runs.said(&b, asked()).unwrap(), runs.count(&b).unwrap()), (Keys::new(), 0));
        for run in &all {
            assert_eq!(runs.get(&a, &run.ran).unwrap().as_ref(), Some(run));
            assert_eq!(runs.get(&b, &run.ran).unwrap(), None);
        }
        let open = runs.open_ends(&a).unwrap();
        assert_eq!(open, all[1..].iter().map(|run| (run.ran, run.clone())).collect());
        assert!(runs.open_ends(&b).unwrap().is_empty());
        runs.put(&b, &all[1]).unwrap();
        assert_eq!(runs.open_ends(&b).unwrap().len(), 1);
        assert_eq!(runs.open_ends(&a).unwrap().len(), 3);
    }
}
