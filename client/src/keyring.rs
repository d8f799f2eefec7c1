//! The wallet's keys of DIDs: whoever signs UCANs. One file each, like the keys that send messages, and a name for those
//! that have one.
//!
//! ```text
//! ~/.bucket/
//!   dids/z6Mk….key      0600   a multikey, see Identity::to_multikey; or as Lotus writes keys
//!   names/alice         0600   the DID that is called so
//! ```

use std::path::PathBuf;

use bucket_core::did::BucketId;

use crate::error::ClientError;
use crate::identity::Identity;
use crate::key::{Key, KeyError};
use crate::wallet::{Wallet, names, read_private, read_text, write_private};

/// Bytes of a key's name.
const NAME_BYTES_MAX: usize = 64;

/// A DID whose key is in the wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The DID.
    pub did: BucketId,
    /// What it is called here.
    pub names: Vec<String>,
}

impl Wallet {
    /// Keeps the key of a DID, under a name if one is given. The same key again is no error, a taken name is.
    pub fn store_identity(&self, key: &Identity, name: Option<&str>) -> Result<BucketId, ClientError> {
        let did = key.did();
        if let Some(name) = name {
            self.check_name(name, &did)?;
        }
        write_private(&self.did_path(&did), &key.to_multikey())?;
        if let Some(name) = name {
            write_private(&self.name_path(name), did.as_str())?;
        }
        Ok(did)
    }

    fn check_name(&self, name: &str, did: &BucketId) -> Result<(), ClientError> {
        if !is_name(name) {
            let expected = format!("expected a name of letters, digits, “-”, “_” and “.”, at most {NAME_BYTES_MAX}");
            return Err(ClientError::Input(format!("{expected}, got “{name}”")));
        }
        match self.named(name)? {
            Some(other) if other != *did => Err(ClientError::Input(format!("“{name}” is {other} already"))),
            _ => Ok(()),
        }
    }

    /// The DID with this name.
    pub fn named(&self, name: &str) -> Result<Option<BucketId>, ClientError> {
        let path = self.name_path(name);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|error| ClientError::file(&path, error))
    }

    /// The DID that is meant by a name or by itself. A DID need not have a key here.
    pub fn resolve(&self, key: &str) -> Result<BucketId, ClientError> {
        if let Ok(did) = key.parse() {
            return Ok(did);
        }
        // A name is no path.
        let found = if is_name(key) { self.named(key)? } else { None };
        let expected = || format!("expected a DID or the name of a key, got “{key}”: `bucket key list` shows them");
        found.ok_or_else(|| ClientError::Input(expected()))
    }

    /// The key that is meant by a name or a DID.
    pub fn identity(&self, key: &str) -> Result<Identity, ClientError> {
        let did = self.resolve(key)?;
        self.identity_of(&did)?.ok_or_else(|| KeyError::DidAbsent(did.to_string()).into())
    }

    /// The key of a DID, if the wallet has it.
    pub fn identity_of(&self, did: &BucketId) -> Result<Option<Identity>, ClientError> {
        let path = self.did_path(did);
        let Some(text) = read_private(&path)? else { return Ok(None) };
        let key = read_identity(&text)?;
        if key.did() != *did {
            return Err(KeyError::Format(format!("{} holds another key", path.display())).into());
        }
        Ok(Some(key))
    }

    /// All DIDs whose keys are here, sorted, with their names.
    pub fn identities(&self) -> Result<Vec<Named>, ClientError> {
        let mut all: Vec<_> = self.dids()?.into_iter().map(|did| Named { did, names: vec![] }).collect();
        for name in names(&self.dir().join("names"), "")? {
            if let Some(did) = self.named(&name)?
                && let Some(named) = all.iter_mut().find(|named| named.did == did)
            {
                named.names.push(name);
            }
        }
        Ok(all)
    }

    fn name_path(&self, name: &str) -> PathBuf {
        self.dir().join("names").join(name)
    }
}

/// Whether a key may be called so.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let begins = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain)
}

/// Reads a DID's key: a multikey, or what Lotus exports.
pub fn read_identity(text: &str) -> Result<Identity, KeyError> {
    match text.trim().starts_with('z') {
        true => Identity::from_multikey(text),
        false => Key::from_lotus(text).map(|key| key.identity()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::identity::IdentityKind;
    use crate::wallet::tests::wallet;

    #[test]
    fn keys_of_all_kinds_are_found_by_name_and_by_did() {
        let (_dir, wallet) = wallet();
        assert_eq!(wallet.identities().unwrap(), []);
        for (kind, name) in [(IdentityKind::Ed25519, "a"), (IdentityKind::Secp256k1, "b-1"), (IdentityKind::P256, "c")]
        {
            let key = Identity::generate(kind).unwrap();
            let did = wallet.store_identity(&key, Some(name)).unwrap();
            // Again is no error.
            wallet.store_identity(&key, Some(name)).unwrap();
            assert_eq!(wallet.identity(name).unwrap().did(), did);
            assert_eq!(wallet.identity(did.as_str()).unwrap().kind(), kind);
        }
        let names: Vec<_> = wallet.identities().unwrap().into_iter().flat_map(|named| named.names).collect();
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn keys_of_buckets_in_lotus_form_are_read() {
        let (_dir, wallet) = wallet();
        let key = Key::generate().unwrap();
        let did = key.did();
        write_private(&wallet.did_path(&did), &key.to_lotus()).unwrap();
        assert_eq!(wallet.identity_of(&did).unwrap().unwrap().did(), did);
        assert_eq!(wallet.identities().unwrap(), [Named { did, names: vec![] }]);
    }

    #[test]
    fn names_are_unique_and_plain() {
        let (_dir, wallet) = wallet();
        let key = || Identity::generate(IdentityKind::Ed25519).unwrap();
        wallet.store_identity(&key(), Some("alice")).unwrap();
        let taken = wallet.store_identity(&key(), Some("alice")).unwrap_err();
        assert!(taken.to_string().contains("“alice” is did:key:z6Mk"), "{taken}");
        assert_eq!(wallet.identities().unwrap().len(), 1, "nothing was kept of the other");
        for bad in ["", "../x", "did:key:z", ".x", "a b", &"x".repeat(65)] {
            assert!(wallet.store_identity(&key(), Some(bad)).is_err(), "{bad}");
        }
        for absent in ["bob", "../names/alice", ""] {
            assert!(wallet.identity(absent).unwrap_err().to_string().contains("`bucket key list`"));
        }
        let foreign = wallet.identity("did:key:z6MkmJceVoQSHs45cReEXoLtWm1wosCG8RLxfKwhxoqzoTkC").unwrap_err();
        assert!(foreign.to_string().contains("no key of did:key:z6MkmJ"), "{foreign}");
    }

    #[test]
    fn drafts_that_a_crash_left_are_no_names() {
        let (_dir, wallet) = wallet();
        let key = Identity::generate(IdentityKind::Ed25519).unwrap();
        let did = wallet.store_identity(&key, Some("alice")).unwrap();
        fs::write(wallet.dir().join("names/.alice.1.tmp"), "").unwrap();
        fs::write(wallet.dir().join("dids/.other.key"), "").unwrap();
        assert_eq!(wallet.identities().unwrap(), [Named { did, names: vec!["alice".into()] }]);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, wallet) = wallet();
        let key = Identity::generate(IdentityKind::P256).unwrap();
        let did = wallet.store_identity(&key, None).unwrap();
        let path = wallet.did_path(&did);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(wallet.identity_of(&did).unwrap_err().to_string().contains("mode 640"));
    }
}
