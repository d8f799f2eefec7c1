//! Where a replica lies: one redb file for each space, `$BUCKET_HOME/spaces/<did>.redb`.
//!
//! A file is open as long as a transaction takes, so that commands, a server and a pull share it; nobody waits for a network
//! meanwhile. A transaction is on disk when it returns, or never was: killed at any moment, a replica is what it was before or
//! after.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bucket_core::cid::{Cid, Hasher as _, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::prolly::Blocks;
use redb::{
    Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition,
    TableError, WriteTransaction,
};

use super::SpaceError;
use super::tree::digest;

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
/// SHA-256 → tree node, block or CAR that a value links to.
pub const BLOCKS: Table = TableDefinition::new("blocks");
/// CID → an edit that waits.
pub const EDITS: Table = TableDefinition::new("edits");
/// CID → an edit that was made here, until it is certain that a head includes it.
pub const OWN: Table = TableDefinition::new("own");
/// Id of a push's CAR → the CIDs of its edits, until its receipt is known.
pub const PUSHES: Table = TableDefinition::new("pushes");
/// CID of a block that a value links to, and that isn't here.
pub const WANTED: Table = TableDefinition::new("wanted");

const SPACE: &str = "space";

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A replica's file.
#[derive(Debug, Clone)]
pub struct Replica {
    path: PathBuf,
    space: BucketId,
}

/// What a transaction reads.
pub trait Read {
    /// A value, by its table and key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, SpaceError>;

    /// Whether there is one.
    fn has(&self, table: Table, key: &[u8]) -> Result<bool, SpaceError>;

    /// At most `limit` keys and values from `from` on, in the order of keys.
    fn some(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, SpaceError>;
}

/// A transaction that reads.
pub struct Snapshot(ReadTransaction);

/// A transaction that writes.
pub struct Change(WriteTransaction);

fn all(
    table: impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    limit: usize,
) -> Result<Vec<Row>, SpaceError> {
    let mut found = Vec::new();
    for row in table.range(from..).map_err(database)?.take(limit) {
        let (key, value) = row.map_err(database)?;
        found.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(found)
}

impl Read for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, SpaceError> {
        match self.0.open_table(table) {
            Ok(table) => Ok(table.get(key).map_err(database)?.map(|value| value.value().to_vec())),
            // Nothing was ever written to it.
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(database(error)),
        }
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, SpaceError> {
        match self.0.open_table(table) {
            Ok(table) => Ok(table.get(key).map_err(database)?.is_some()),
            Err(TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(database(error)),
        }
    }

    fn some(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, SpaceError> {
        match self.0.open_table(table) {
            Ok(table) => all(table, from, limit),
            Err(TableError::TableDoesNotExist(_)) => Ok(vec![]),
            Err(error) => Err(database(error)),
        }
    }
}

impl Read for Change {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, SpaceError> {
        let table = self.0.open_table(table).map_err(database)?;
        let found = table.get(key).map_err(database)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, SpaceError> {
        Ok(self.0.open_table(table).map_err(database)?.get(key).map_err(database)?.is_some())
    }

    fn some(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, SpaceError> {
        all(self.0.open_table(table).map_err(database)?, from, limit)
    }
}

impl Change {
    /// Writes a value.
    pub fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), SpaceError> {
        self.0.open_table(table).map_err(database)?.insert(key, value).map_err(database)?;
        Ok(())
    }

    /// Takes a value away.
    pub fn del(&self, table: Table, key: &[u8]) -> Result<(), SpaceError> {
        self.0.open_table(table).map_err(database)?.remove(key).map_err(database)?;
        Ok(())
    }

    /// Keeps a block under its hash.
    pub fn put_block(&self, bytes: &[u8]) -> Result<(), SpaceError> {
        self.put(BLOCKS, &NativeHasher::sha2_256(bytes), bytes)
    }
}

/// The blocks of a transaction. A tree hashes them again, so that a broken disk is found out.
pub struct Nodes<'a, K>(pub &'a K);

impl<K: Read> Blocks for Nodes<'_, K> {
    fn get(&self, cid: &Cid) -> Result<Option<Cow<'_, [u8]>>, String> {
        let Some(digest) = digest(cid) else { return Ok(None) };
        let found = self.0.get(BLOCKS, &digest).map_err(|error| error.to_string())?;
        Ok(found.map(Cow::Owned))
    }

    fn has(&self, cid: &Cid) -> Result<bool, String> {
        let Some(digest) = digest(cid) else { return Ok(false) };
        self.0.has(BLOCKS, &digest).map_err(|error| error.to_string())
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
        Self { path: folder(home).join(name + ".redb"), space }
    }

    /// All replicas below `home`, sorted.
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
                    .and_then(|db| read(&path, &db, |snapshot| snapshot.get(META, SPACE.as_bytes())))?;
                let space = space.and_then(|space| String::from_utf8(space).ok()?.parse().ok());
                found.extend(space.map(|space| Self { path, space }));
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
        read(&self.path, &open(&self.path, |path| ReadOnlyDatabase::open(path))?, f)
    }

    /// Changes the replica, all or nothing, and makes it if it isn't there.
    pub fn write<T>(&self, f: impl FnOnce(&Change) -> Result<T, SpaceError>) -> Result<T, SpaceError> {
        let folder = self.path.parent().expect("it is in a folder");
        fs::create_dir_all(folder)
            .map_err(|error| SpaceError::Storage { path: folder.to_owned(), why: error.to_string() })?;
        let db = open(&self.path, |path| Database::create(path))?;
        let done = db.begin_write().map_err(database).and_then(|tx| {
            let change = Change(tx);
            change.put(META, SPACE.as_bytes(), self.space.as_str().as_bytes())?;
            let done = f(&change)?;
            change.0.commit().map_err(database)?;
            Ok(done)
        });
        done.map_err(|error| error.at(&self.path))
    }
}

fn read<T>(
    path: &Path,
    db: &ReadOnlyDatabase,
    f: impl FnOnce(&Snapshot) -> Result<T, SpaceError>,
) -> Result<T, SpaceError> {
    let done = db.begin_read().map_err(database).and_then(|tx| f(&Snapshot(tx)));
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
