//! What a service has run, kept through every restart: each task once, with its receipt.
//!
//! redb commits are durable when they return, so a service that is killed knows afterwards all that it knew before.

use std::collections::BTreeMap;
use std::path::Path;

use bucket_core::cid::{CarId, Cid, NativeHasher};
use bucket_core::dag_cbor::{self, Ipld};
use bucket_core::did::BucketId;
use bucket_core::task::Task;
use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::error::ClientError;

/// `[space, CID of the task]` → `{task, receipt, added, last, written}`.
const RUNS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("runs");

/// A task that was run for a space.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The task's CID.
    pub ran: Cid,
    /// What was to be done.
    pub task: Task,
    /// The newest receipt: a CAR. None as long as there is nothing to say.
    pub receipt: Option<Vec<u8>>,
    /// Whether a blob was added to the bucket's store. What is no blob needs nothing there.
    pub added: bool,
    /// Whether no other receipt will follow.
    pub last: bool,
    /// Whether the newest receipt, if any, went into the space. If somebody takes it out again, that is their affair.
    pub written: bool,
}

impl Run {
    /// The newest receipt's id.
    pub fn id(&self) -> Option<CarId> {
        self.receipt.as_deref().map(CarId::of::<NativeHasher>)
    }

    fn encode(&self) -> Vec<u8> {
        let fields = [
            ("task", self.task.to_ipld()),
            ("receipt", self.receipt.clone().map_or(Ipld::Null, Ipld::Bytes)),
            ("added", Ipld::Bool(self.added)),
            ("last", Ipld::Bool(self.last)),
            ("written", Ipld::Bool(self.written)),
        ];
        dag_cbor::encode(&Ipld::Map(fields.map(|(field, value)| (field.to_owned(), value)).into()))
    }

    fn decode(ran: Cid, bytes: &[u8]) -> Option<Self> {
        let Ok(Ipld::Map(mut fields)) = dag_cbor::decode(bytes) else { return None };
        let task = Task::from_ipld(fields.remove("task")?).ok()?;
        let receipt = match fields.remove("receipt")? {
            Ipld::Bytes(receipt) => Some(receipt),
            Ipld::Null => None,
            _ => return None,
        };
        let mut flag = |name: &str| if let Some(Ipld::Bool(set)) = fields.remove(name) { Some(set) } else { None };
        let (added, last, written) = (flag("added")?, flag("last")?, flag("written")?);
        Some(Self { ran, task, receipt, added, last, written })
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

    /// Keeps what came of a task.
    pub fn put(&self, space: &BucketId, run: &Run) -> Result<(), ClientError> {
        self.put_all(space, [run])
    }

    /// Keeps what came of tasks, of all or of none.
    pub fn put_all<'a>(&self, space: &BucketId, runs: impl IntoIterator<Item = &'a Run>) -> Result<(), ClientError> {
        let write = self.db.begin_write().map_err(failed)?;
        {
            let mut table = write.open_table(RUNS).map_err(failed)?;
            for run in runs {
                let key = (space.as_str(), &run.ran.to_bytes()[..]);
                table.insert(key, &run.encode()[..]).map_err(failed)?;
            }
        }
        write.commit().map_err(failed)
    }

    /// Runs that another receipt may follow, or whose newest receipt isn't in the space yet.
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
            if !run.last || !run.written {
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

    fn run(n: u8, last: bool, written: bool) -> Run {
        let sub: BucketId = "did:key:zSpace".parse().unwrap();
        let task = Task { sub, cmd: "/blob/add".into(), args: BTreeMap::new(), nonce: vec![n] };
        let ran = block_cid::<NativeHasher>(DAG_CBOR, &dag_cbor::encode(&task.to_ipld()));
        let receipt = n.is_multiple_of(2).then(|| vec![n; 9]);
        Run { ran, task, receipt, added: true, last, written }
    }

    #[test]
    fn runs_outlive_the_process_and_stay_with_their_space() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.redb");
        let [a, b]: [BucketId; 2] = ["did:key:zA", "did:key:zB"].map(|did| did.parse().unwrap());
        let all = [run(0, true, true), run(1, false, true), run(2, true, false)];
        Runs::open(&path).unwrap().put_all(&a, &all).unwrap();
        let runs = Runs::open(&path).unwrap();
        for run in &all {
            assert_eq!(runs.get(&a, &run.ran).unwrap().as_ref(), Some(run));
            assert_eq!(runs.get(&b, &run.ran).unwrap(), None);
        }
        let open = runs.open_ends(&a).unwrap();
        assert_eq!(open, all[1..].iter().map(|run| (run.ran, run.clone())).collect());
        assert!(runs.open_ends(&b).unwrap().is_empty());
        runs.put(&b, &all[1]).unwrap();
        assert_eq!(runs.open_ends(&b).unwrap().len(), 1);
        assert_eq!(runs.open_ends(&a).unwrap().len(), 2);
    }
}
