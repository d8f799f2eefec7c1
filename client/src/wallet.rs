//! Keys in a directory: one file each, readable by their owner only, in the form that Lotus exports and imports.
//!
//! ```text
//! ~/.bucket/            0700
//!   keys/f1….key        0600   keys that sign messages; f410…. for those of Ethereum accounts
//!   dids/zQ3s….key      0600   keys of DIDs, see keyring.rs
//!   default             the address that signs unless another is named
//! ```

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bucket_core::did::BucketId;
use bucket_rpc::eth::is_eth_sender;
use bucket_rpc::json::{format_address, format_address_in, parse_address};
use fvm_shared::address::{Address, Network, Protocol};
use zeroize::Zeroizing;

use crate::error::ClientError;
use crate::key::{Key, KeyError, KeyType, Signer};

/// A directory of keys. Nothing is created before the first key is.
#[derive(Debug, Clone)]
pub struct Wallet {
    dir: PathBuf,
}

impl Wallet {
    /// The wallet in `dir`.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a key with an f1 address. The first one becomes the default.
    pub fn generate(&self) -> Result<Address, ClientError> {
        self.generate_type(KeyType::Secp256k1)
    }

    /// Makes a key of that type. The first one becomes the default.
    pub fn generate_type(&self, kind: KeyType) -> Result<Address, ClientError> {
        self.store(&Key::generate()?.with_type(kind))
    }

    /// Takes a key that Lotus exported. The first one becomes the default.
    pub fn import(&self, exported: &str) -> Result<Address, ClientError> {
        self.store(&Key::from_lotus(exported)?)
    }

    /// The key as `lotus wallet import` reads it.
    pub fn export(&self, address: &Address) -> Result<String, ClientError> {
        Ok(self.key(address)?.to_lotus())
    }

    /// All addresses, sorted by their text.
    pub fn list(&self) -> Result<Vec<Address>, ClientError> {
        let names = names(&self.dir.join("keys"), ".key")?;
        Ok(names.iter().filter_map(|name| parse_address(name).ok()).collect())
    }

    /// The key of an address.
    pub fn key(&self, address: &Address) -> Result<Key, ClientError> {
        if !matches!(address.protocol(), Protocol::Secp256k1) && !is_eth_sender(address) {
            let why = "this wallet signs for f1 and f410 addresses only";
            return Err(ClientError::Input(format!("{}: {why}", format_address(address))));
        }
        let path = self.key_path(address);
        let text = read_private(&path)?.ok_or_else(|| KeyError::Absent(format_address(address)))?;
        let key = Key::from_lotus(&text)?;
        match key.address() == *address {
            true => Ok(key),
            false => Err(KeyError::Format(format!("{} holds another key", path.display())).into()),
        }
    }

    /// The address that signs unless another is named.
    pub fn default(&self) -> Result<Option<Address>, ClientError> {
        let path = self.dir.join("default");
        let Some(text) = read_text(&path)? else { return Ok(None) };
        parse_address(text.trim()).map(Some).map_err(|error| ClientError::file(&path, error))
    }

    /// Signs with `address` unless another is named.
    pub fn set_default(&self, address: &Address) -> Result<(), ClientError> {
        self.key(address)?;
        write_private(&self.dir.join("default"), &file_name(address))
    }

    /// The DIDs whose keys are here.
    pub fn dids(&self) -> Result<Vec<BucketId>, ClientError> {
        let names = names(&self.dir.join("dids"), ".key")?;
        Ok(names.iter().filter_map(|name| format!("did:key:{name}").parse().ok()).collect())
    }

    fn store(&self, key: &Key) -> Result<Address, ClientError> {
        let address = key.address();
        write_private(&self.key_path(&address), &key.to_lotus())?;
        if self.default()?.is_none() {
            self.set_default(&address)?;
        }
        Ok(address)
    }

    fn key_path(&self, address: &Address) -> PathBuf {
        self.dir.join("keys").join(file_name(address) + ".key")
    }

    pub(crate) fn did_path(&self, did: &BucketId) -> PathBuf {
        // Colons are no part of file names everywhere; only did:key has keys here.
        let name = did.as_str().trim_start_matches("did:key:").replace([':', '%'], "_");
        self.dir.join("dids").join(name + ".key")
    }
}

/// The letter of an address is that of the network; a file's name can't change with it.
fn file_name(address: &Address) -> String {
    format_address_in(Network::Mainnet, address)
}

/// The files of a directory with this ending, without it, sorted. Hidden ones are nobody's: a draft that a crash left, say.
pub(crate) fn names(dir: &Path, ending: &str) -> Result<Vec<String>, ClientError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(ClientError::file(dir, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| ClientError::file(dir, error))?.file_name();
        let name = name.to_str().filter(|name| !name.starts_with('.')).and_then(|name| name.strip_suffix(ending));
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The text of a file; `None` without the file.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, ClientError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ClientError::file(path, error)),
    }
}

/// The text of a file that only its owner can read; `None` without the file.
pub(crate) fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, ClientError> {
    let Some(text) = read_text(path)?.map(Zeroizing::new) else { return Ok(None) };
    check_mode(path)?;
    Ok(Some(text))
}

/// Writes a file that only its owner can read, all or nothing.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), ClientError> {
    let fail = |error| ClientError::file(path, error);
    if let Some(dir) = path.parent() {
        private_dir(dir)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        // Nothing of a key stays behind, whatever went wrong.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(fail)
}

fn private_dir(dir: &Path) -> Result<(), ClientError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| ClientError::file(dir, error))
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), ClientError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(|error| ClientError::file(path, error))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Mode { path: path.display().to_string(), mode }.into());
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<(), ClientError> {
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An empty one, in a directory that isn't there yet.
    pub fn wallet() -> (tempfile::TempDir, Wallet) {
        let dir = tempfile::tempdir().unwrap();
        let wallet = Wallet::open(dir.path().join("home"));
        (dir, wallet)
    }

    #[test]
    fn keys_come_back_and_the_first_is_the_default() {
        let (_dir, wallet) = wallet();
        assert_eq!(wallet.list().unwrap(), []);
        assert_eq!(wallet.default().unwrap(), None);
        let first = wallet.generate().unwrap();
        let second = wallet.generate().unwrap();
        let mut both = vec![format_address(&first), format_address(&second)];
        both.sort();
        assert_eq!(wallet.list().unwrap().iter().map(format_address).collect::<Vec<_>>(), both);
        assert_eq!(wallet.default().unwrap(), Some(first));
        wallet.set_default(&second).unwrap();
        assert_eq!(wallet.default().unwrap(), Some(second));
        assert_eq!(wallet.key(&second).unwrap().address(), second);
    }

    #[test]
    fn an_exported_key_is_imported_by_another_wallet() {
        let ((_a, from), (_b, to)) = (wallet(), wallet());
        let address = from.generate().unwrap();
        assert_eq!(to.import(&from.export(&address).unwrap()).unwrap(), address);
        // Again is no error.
        assert_eq!(to.import(&from.export(&address).unwrap()).unwrap(), address);
        assert_eq!(to.list().unwrap().len(), 1);
    }

    #[test]
    fn keys_of_ethereum_accounts_lie_beside_the_others() {
        let ((_a, from), (_b, to)) = (wallet(), wallet());
        let f1 = from.generate().unwrap();
        let f410 = from.generate_type(KeyType::Delegated).unwrap();
        assert!(is_eth_sender(&f410));
        let mut both = vec![f1, f410];
        both.sort_by_key(format_address);
        assert_eq!(from.list().unwrap(), both);
        assert_eq!(from.default().unwrap(), Some(f1));
        from.set_default(&f410).unwrap();
        assert_eq!(from.key(&f410).unwrap().kind(), KeyType::Delegated);

        let exported = from.export(&f410).unwrap();
        let json = String::from_utf8(hex::decode(&exported).unwrap()).unwrap();
        assert!(json.starts_with(r#"{"Type":"delegated","PrivateKey":""#), "{json}");
        assert_eq!(to.import(&exported).unwrap(), f410);
        assert_eq!(to.export(&f410).unwrap(), exported);
    }

    #[test]
    fn keys_of_dids_are_kept_apart() {
        let (_dir, wallet) = wallet();
        let did = wallet.store_identity(&Key::generate().unwrap().identity(), None).unwrap();
        assert_eq!(wallet.dids().unwrap(), std::slice::from_ref(&did));
        assert_eq!(wallet.identity_of(&did).unwrap().unwrap().did(), did);
        assert!(wallet.identity_of(&"did:web:example.com".parse().unwrap()).unwrap().is_none());
        assert!(wallet.list().unwrap().is_empty());
    }

    #[test]
    fn absent_and_foreign_addresses_say_so() {
        let (_dir, wallet) = wallet();
        let absent = wallet.key(&Key::generate().unwrap().address()).unwrap_err();
        assert!(absent.to_string().contains("the wallet has no key for t1"), "{absent}");
        let foreign = wallet.key(&Address::new_id(100)).unwrap_err();
        assert!(foreign.to_string().contains("f1 and f410 addresses only"), "{foreign}");
        assert!(wallet.set_default(&Address::new_id(100)).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_keys() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, wallet) = wallet();
        let address = wallet.generate().unwrap();
        let path = wallet.key_path(&address);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&wallet.dir), 0o700);
        assert_eq!(mode(path.parent().unwrap()), 0o700);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = wallet.key(&address).unwrap_err();
        assert!(error.to_string().contains("mode 644"), "{error}");
    }
}
