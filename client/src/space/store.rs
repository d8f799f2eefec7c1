//! Where a replica lies: one redb file for each space, `$BUCKET_HOME/spaces/<did>.redb`.
//!
//! A file is open as long as a transaction takes, so that commands, a server and a pull share it; nobody waits for a network
//! meanwhile. A transaction is on disk when it returns, or never was: killed at any moment, a replica is what it was before or
//! after.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bucket_core::cid::{Hasher as _, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::prolly;
use redb::{
    Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition,
    TableError, WriteTransaction,
};

use super::{SpaceError, blocks, millis};

/// How long somebody else may write.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Names longer than that are hashed: a file's name has 255 bytes.
const NAME_BYTES_MAX: usize = 200;

/// Which table.
pub type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Settings and the head, by names.
pub const META: Table = TableDefinition::new("meta");
/// SHA-256 → node of the head's tree.
pub const NODES: Table = TableDefinition::new("nodes");
/// SHA-256 → node, or evidence, of a head that is on its way here.
pub const COMING: Table = TableDefinition::new("coming");
/// SHA-256 → block or CAR that a value links to.
pub const BLOCKS: Table = TableDefinition::new("blocks");
/// SHA-256 and CID of a link → how many values have it.
pub const LINKS: Table = TableDefinition::new("links");
/// SHA-256 and CID of a link whose block isn't here.
pub const WANTED: Table = TableDefinition::new("wanted");
/// CID → an edit that waits.
pub const EDITS: Table = TableDefinition::new("edits");
/// CID → an edit that was made here, until a push that brought it to the chain is final.
pub const OWN: Table = TableDefinition::new("own");
/// Id of a push's CAR → the CIDs of its edits and what became of it, until it is final or failed.
pub const PUSHES: Table = TableDefinition::new("pushes");

const SPACE: &str = "space";
const LAYOUT: &str = "layout";

/// The second layout of files: the first had nodes, evidence and linked blocks in one table, and no counts.
const CURRENT: &[u8] = &[2];

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A replica's file.
#[derive(Debug, Clone)]
pub struct Replica {
    path: PathBuf,
    space: BucketId,
    clock: fn() -> u64,
}

/// What a transaction reads.
pub trait Read {
    /// The moment of the transaction, in milliseconds since 1970.
    fn now(&self) -> u64;

    /// A value, by its table and key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, SpaceError>;

    /// Whether there is one.
    fn has(&self, table: Table, key: &[u8]) -> Result<bool, SpaceError>;

    /// All keys that begin with `prefix`, in their order, with their values.
    fn below(&self, table: Table, prefix: &[u8]) -> Result<Vec<Row>, SpaceError>;
}

/// A transaction that reads.
pub struct Snapshot {
    tx: ReadTransaction,
    now: u64,
}

/// A transaction that writes.
pub struct Change {
    tx: WriteTransaction,
    now: u64,
}

/// The bounds of all keys that begin with a prefix, as they are borrowed.
type Borrowed<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

fn rows(table: impl ReadableTable<&'static [u8], &'static [u8]>, prefix: &[u8]) -> Result<Vec<Row>, SpaceError> {
    let (from, to) = prolly::prefix(prefix);
    let bounds: Borrowed<'_> = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
    let mut found = Vec::new();
    for row in table.range::<&[u8]>(bounds).map_err(database)? {
        let (key, value) = row.map_err(database)?;
        found.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(found)
}

impl Read for Snapshot {
    fn now(&self) -> u64 {
        self.now
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, SpaceError> {
        match self.tx.open_table(table) {
            Ok(table) => Ok(table.get(key).map_err(database)?.map(|value| value.value().to_vec())),
            // Nothing was ever written to it.
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(database(error)),
        }
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, SpaceError> {
        match self.tx.open_table(table) {
            Ok(table) => Ok(table.get(key).map_err(database)?.is_some()),
            Err(TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(database(error)),
        }
    }

    fn below(&self, table: Table, prefix: &[u8]) -> Result<Vec<Row>, SpaceError> {
        match self.tx.open_table(table) {
            Ok(table) => rows(table, prefix),
            Err(TableError::TableDoesNotExist(_)) => Ok(vec![]),
            Err(error) => Err(database(error)),
        }
    }
}

impl Read for Change {
    fn now(&self) -> u64 {
        self.now
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, SpaceError> {
        let table = self.tx.open_table(table).map_err(database)?;
        let found = table.get(key).map_err(database)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, SpaceError> {
        Ok(self.tx.open_table(table).map_err(database)?.get(key).map_err(database)?.is_some())
    }

    fn below(&self, table: Table, prefix: &[u8]) -> Result<Vec<Row>, SpaceError> {
        rows(self.tx.open_table(table).map_err(database)?, prefix)
    }
}

impl Change {
    /// Writes a value.
    pub fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), SpaceError> {
        self.tx.open_table(table).map_err(database)?.insert(key, value).map_err(database)?;
        Ok(())
    }

    /// Takes a value away.
    pub fn del(&self, table: Table, key: &[u8]) -> Result<(), SpaceError> {
        self.tx.open_table(table).map_err(database)?.remove(key).map_err(database)?;
        Ok(())
    }

    /// Takes away all whose keys begin with `prefix`.
    pub fn clear(&self, table: Table, prefix: &[u8]) -> Result<(), SpaceError> {
        let (from, to) = prolly::prefix(prefix);
        let bounds: Borrowed<'_> = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        self.tx.open_table(table).map_err(database)?.retain_in::<&[u8], _>(bounds, |_, _| false).map_err(database)
    }
}

fn database(error: impl Into<redb::Error>) -> SpaceError {
    SpaceError::Storage { path: PathBuf::new(), why: error.into().to_string() }
}

impl SpaceError {
    /// Names the file that could not be read or written.
    fn at(self, file: &Path) -> Self {
        match self {
            Self::Storage { path, why } if path.as_os_str().is_empty() => Self::Storage { path: file.to_owned(), why },
            other => other,
        }
    }
}

fn folder(home: &Path) -> PathBuf {
    home.join("spaces")
}

impl Replica {
    /// The replica of a space below `home`, whether it is there or not.
    pub fn new(home: &Path, space: BucketId) -> Self {
        let name = match space.as_str() {
            name if name.len() <= NAME_BYTES_MAX => name.to_owned(),
            long => hex::encode(NativeHasher::sha2_256(long.as_bytes())),
        };
        Self { path: folder(home).join(name + ".redb"), space, clock: millis }
    }

    /// The same replica at another time.
    #[cfg(test)]
    pub(super) fn with_clock(&self, clock: fn() -> u64) -> Self {
        Self { clock, ..self.clone() }
    }

    /// All replicas below `home`, sorted. A file that can't be read is left out: it is no reason not to serve the others.
    pub fn all(home: &Path) -> Result<Vec<Self>, SpaceError> {
        let folder = folder(home);
        let failed = |error: std::io::Error| SpaceError::Storage { path: folder.clone(), why: error.to_string() };
        let files = match fs::read_dir(&folder) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for file in files {
            let path = file.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "redb") {
                let space = open(&path, |path| ReadOnlyDatabase::open(path))
                    .and_then(|db| read(&path, &db, millis, |snapshot| snapshot.get(META, SPACE.as_bytes())));
                let space = space.ok().flatten().and_then(|space| String::from_utf8(space).ok()?.parse().ok());
                found.extend(space.map(|space| Self { path, space, clock: millis }));
            }
        }
        found.sort_by(|a, b| a.space.cmp(&b.space));
        Ok(found)
    }

    /// The space.
    pub fn space(&self) -> &BucketId {
        &self.space
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads, as of one moment.
    pub fn read<T>(&self, f: impl FnOnce(&Snapshot) -> Result<T, SpaceError>) -> Result<T, SpaceError> {
        if !self.exists() {
            return Err(SpaceError::Absent(self.space.clone()));
        }
        let mut db = open(&self.path, |path| ReadOnlyDatabase::open(path))?;
        if !read(&self.path, &db, self.clock, is_current)? {
            drop(db);
            self.write(|_| Ok(()))?;
            db = open(&self.path, |path| ReadOnlyDatabase::open(path))?;
        }
        read(&self.path, &db, self.clock, f)
    }

    /// Changes the replica, all or nothing, and makes it if it isn't there.
    pub fn write<T>(&self, f: impl FnOnce(&Change) -> Result<T, SpaceError>) -> Result<T, SpaceError> {
        let folder = self.path.parent().expect("it is in a folder");
        fs::create_dir_all(folder)
            .map_err(|error| SpaceError::Storage { path: folder.to_owned(), why: error.to_string() })?;
        let db = open(&self.path, |path| Database::create(path))?;
        let done = db.begin_write().map_err(database).and_then(|tx| {
            let change = Change { tx, now: (self.clock)() };
            if !is_current(&change)? {
                change.put(META, SPACE.as_bytes(), self.space.as_str().as_bytes())?;
                blocks::upgrade(&change)?;
                change.put(META, LAYOUT.as_bytes(), CURRENT)?;
            }
            let done = f(&change)?;
            change.tx.commit().map_err(database)?;
            Ok(done)
        });
        done.map_err(|error| error.at(&self.path))
    }
}

fn is_current(kept: &impl Read) -> Result<bool, SpaceError> {
    Ok(kept.get(META, LAYOUT.as_bytes())?.as_deref() == Some(CURRENT))
}

fn read<T>(
    path: &Path,
    db: &ReadOnlyDatabase,
    clock: fn() -> u64,
    f: impl FnOnce(&Snapshot) -> Result<T, SpaceError>,
) -> Result<T, SpaceError> {
    let done = db.begin_read().map_err(database).and_then(|tx| f(&Snapshot { tx, now: clock() }));
    done.map_err(|error| error.at(path))
}

/// Opens a file that somebody else may have open.
fn open<T>(path: &Path, open: impl Fn(&Path) -> Result<T, DatabaseError>) -> Result<T, SpaceError> {
    let start = Instant::now();
    loop {
        match open(path) {
            Ok(db) => return Ok(db),
            Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(SpaceError::Busy { path: path.to_owned(), seconds: PATIENCE.as_secs() });
            }
            // Whoever wrote was killed. Opening for writing puts it in order.
            Err(DatabaseError::RepairAborted) if start.elapsed() < PATIENCE => match Database::open(path) {
                Ok(_) | Err(DatabaseError::DatabaseAlreadyOpen) => {}
                Err(error) => return Err(database(error).at(path)),
            },
            Err(error) => return Err(database(error).at(path)),
        }
    }
}
