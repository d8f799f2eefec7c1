//! A file as the CAR that is stored: a CAR as it is, anything else packed into one. Nothing is kept in memory or written to
//! disk: the file is read once for the names of its blocks, once for the CAR's id, and once for the upload.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bucket_core::car::{CarError, archive};
use bucket_core::cid::{CarId, Cid, DAG_CBOR, NativeHasher, RAW, block_cid};
use bucket_core::dag_cbor::{self, Ipld};
use sha2::{Digest as _, Sha256};

use crate::error::ClientError;

/// Bytes of one block of a file: what every IPFS node takes, and a reader has to hold before it can check the hash.
pub const BLOCK_BYTES: usize = 1 << 20;

/// A CAR's header is looked for in so many bytes.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// A CAR that can be read as often as it takes.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The CAR's id.
    pub id: CarId,
    /// The CAR's size in bytes.
    pub size: u64,
    /// The root of a CAR that was made of the file: a list of links to its blocks. `None` for a file that is a CAR.
    pub packed: Option<Cid>,
    parts: Vec<Part>,
}

/// Where bytes of the CAR come from.
#[derive(Debug, Clone)]
enum Part {
    Made(Vec<u8>),
    File(Range<u64>),
}

impl Source {
    /// Reads and hashes a file. It takes as long as reading it twice.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        Self::read(path).map_err(|error| ClientError::file(path, error))
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let (packed, parts) = match is_car(&mut file)? {
            true => (None, vec![Part::File(0..file.metadata()?.len())]),
            false => pack(&mut file).map(|(root, parts)| (Some(root), parts))?,
        };
        let size = parts.iter().map(Part::len).sum();
        let mut source = Self { path: path.to_owned(), id: CarId([0; 32]), size, packed, parts };
        let (mut reader, mut sha256, mut buffer) = (source.reader()?, Sha256::new(), vec![0; BLOCK_BYTES]);
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                read => sha256.update(&buffer[..read]),
            }
        }
        source.id = CarId(sha256.finalize().into());
        Ok(source)
    }

    /// The CAR's bytes, from the beginning.
    pub fn reader(&self) -> io::Result<impl Read + Send + use<>> {
        let file = File::open(&self.path)?;
        Ok(Reader { file, parts: self.parts.clone().into_iter(), now: Part::Made(vec![]) })
    }
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Made(bytes) => bytes.len() as u64,
            Self::File(range) => range.end - range.start,
        }
    }
}

/// Whether a file begins as a CAR does, of version 1 or 2.
fn is_car(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.by_ref().take(HEADER_BYTES_MAX).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(matches!(archive::open(&head), Ok(_) | Err(CarError::Version2)))
}

/// Cuts a file into `raw` blocks, and puts a list of links to them behind it, which is the root.
fn pack(file: &mut File) -> io::Result<(Cid, Vec<Part>)> {
    let (mut parts, mut links, mut at) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut block = Vec::new();
        file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        let cid = block_cid::<NativeHasher>(RAW, &block);
        let next = at + block.len() as u64;
        parts.extend([Part::Made(section(&cid, block.len())), Part::File(at..next)]);
        links.push(Ipld::Link(cid));
        at = next;
    }
    let root = dag_cbor::encode(&Ipld::List(links));
    let cid = block_cid::<NativeHasher>(DAG_CBOR, &root);
    let mut begin = Vec::new();
    archive::write_header(&mut begin, &[cid]);
    parts.insert(0, Part::Made(begin));
    parts.push(Part::Made([section(&cid, root.len()), root].concat()));
    Ok((cid, parts))
}

/// What stands before a block's data in a CAR.
fn section(cid: &Cid, data: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive::write_lead(&mut bytes, cid, data);
    bytes
}

struct Reader {
    file: File,
    parts: std::vec::IntoIter<Part>,
    /// What is left of the part that is being read.
    now: Part,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.len() == 0 {
            let Some(part) = self.parts.next() else { return Ok(0) };
            if let Part::File(range) = &part {
                self.file.seek(SeekFrom::Start(range.start))?;
            }
            self.now = part;
        }
        let most = buffer.len().min(usize::try_from(self.now.len()).unwrap_or(usize::MAX));
        match &mut self.now {
            Part::Made(bytes) => {
                buffer[..most].copy_from_slice(&bytes[..most]);
                bytes.drain(..most);
                Ok(most)
            }
            Part::File(range) => match self.file.read(&mut buffer[..most])? {
                0 if most > 0 => Err(io::Error::other("expected the file to stay as it is, but it became shorter")),
                read => {
                    range.start += read as u64;
                    Ok(read)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::car::{self, Part};

    fn stored(bytes: &[u8]) -> (Source, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let source = Source::open(file.path()).unwrap();
        let mut car = Vec::new();
        source.reader().unwrap().read_to_end(&mut car).unwrap();
        assert_eq!(car.len() as u64, source.size);
        assert_eq!(CarId::of::<NativeHasher>(&car), source.id);
        (source, car)
    }

    /// As `bucket car pack --block … --root list.json` writes it.
    fn packed(bytes: &[u8]) -> Vec<u8> {
        let named = |(n, data): (usize, &[u8])| Part::Raw { name: n.to_string(), data: data.to_vec() };
        let mut parts: Vec<_> = bytes.chunks(BLOCK_BYTES).enumerate().map(named).collect();
        let links: Vec<_> = (0..parts.len()).map(|n| format!("{{\"/\": \"{n}\"}}")).collect();
        parts.push(Part::Value { name: "root".into(), json: format!("[{}]", links.join(",")) });
        car::pack(parts).unwrap().0
    }

    #[test]
    fn what_is_no_car_is_packed() {
        let large: Vec<u8> = (0..BLOCK_BYTES * 2 + 77).map(|n| (n % 251) as u8).collect();
        for bytes in [&b""[..], b"hello", &large[..BLOCK_BYTES], &large] {
            let (source, car) = stored(bytes);
            assert_eq!(car, packed(bytes));
            let verdict = car::read(&car).unwrap();
            assert_eq!((verdict.roots, verdict.error), (vec![source.packed.unwrap()], None));
        }
    }

    #[test]
    fn a_car_is_stored_as_it_is() {
        let v1 = packed(b"some bytes");
        // The pragma, characteristics, where the inner CAR lies, no index.
        let mut v2 = vec![0x0a, 0xa1, 0x67, b'v', b'e', b'r', b's', b'i', b'o', b'n', 0x02];
        v2.extend([0; 16]);
        v2.extend([51, v1.len() as u64, 0].map(u64::to_le_bytes).concat());
        v2.extend(&v1);
        for bytes in [v1, v2] {
            let (source, car) = stored(&bytes);
            assert_eq!((source.packed, car), (None, bytes));
        }
    }

    #[test]
    fn a_file_that_shrinks_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 1000]).unwrap();
        let source = Source::open(file.path()).unwrap();
        std::fs::write(file.path(), [1; 999]).unwrap();
        let error = source.reader().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("became shorter"), "{error}");
    }
}
