//! The key that signs receipts: Ed25519 (RFC 8032), which gives the same signature for the same message each time.
//!
//! In a file it is a multikey (W3C Controlled Identifiers 1.0, "Multikey"): multibase `z`, the multicodec `ed25519-priv`, 32
//! bytes.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bucket_core::ucan::{Did, PublicKey};
use cid::multibase::{self, Base};
use ed25519_dalek::{Signer as _, SigningKey};
use zeroize::Zeroizing;

use crate::config::Config;

/// Multicodec `ed25519-priv` as a varint.
const ED25519_PRIV: [u8; 2] = [0x80, 0x26];

/// A key that signs as a did:key. Its secret is wiped from memory when it is dropped.
pub struct Signer(SigningKey);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.did())
    }
}

impl Signer {
    /// The key that the settings name. Without one it is `key` in the data folder, made when it isn't there.
    pub fn open(config: &Config) -> Result<Self> {
        match &config.key {
            Some(path) => Self::read(path)?.with_context(|| format!("there is no key {}", path.display())),
            None => {
                let path = config.data.join("key");
                Self::read(&path)?.map_or_else(|| Self::generate(&path), Ok)
            }
        }
    }

    /// The key in a file; `None` without the file.
    fn read(path: &Path) -> Result<Option<Self>> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let key = Self::from_multikey(&Zeroizing::new(text));
                key.map(Some).with_context(|| format!("failed to read the key {}", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read the key {}", path.display())),
        }
    }

    /// A new key, written to a file that only its owner may read.
    fn generate(path: &Path) -> Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut secret[..]).map_err(|error| anyhow::anyhow!("no randomness for a key: {error}"))?;
        let signer = Self(SigningKey::from_bytes(&secret));
        // Under another name first: what a crash leaves over must not be taken for the key.
        let draft = path.with_extension("new");
        let written = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            writeln!(file, "{}", *signer.to_multikey())?;
            file.sync_all()?;
            std::fs::rename(&draft, path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        written().with_context(|| format!("failed to write the key {}", path.display()))?;
        Ok(signer)
    }

    /// Reads a multikey.
    pub fn from_multikey(text: &str) -> Result<Self> {
        const EXPECTED: &str = "expected a multikey, z… of an Ed25519 private key's multicodec and 32 bytes";
        let (_, bytes) = multibase::decode(text.trim()).ok().context(EXPECTED)?;
        let bytes = Zeroizing::new(bytes);
        let (codec, secret) = bytes.split_first_chunk().context(EXPECTED)?;
        ensure!(*codec == ED25519_PRIV, "{EXPECTED}, got one of multicodec {codec:02x?}");
        Ok(Self(SigningKey::from_bytes(secret.try_into().context(EXPECTED)?)))
    }

    fn to_multikey(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(self.0.to_bytes());
        let bytes = Zeroizing::new([&ED25519_PRIV[..], &secret[..]].concat());
        Zeroizing::new(multibase::encode(Base::Base58Btc, &bytes[..]))
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey::Ed25519(self.0.verifying_key().to_bytes())
    }

    /// The name.
    pub fn did(&self) -> Did {
        self.public().to_did()
    }

    /// Signs `message`; 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).to_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use bucket_rpc::json::parse_address;

    use super::*;

    fn config(data: &Path) -> Config {
        Config::new("http://127.0.0.1:1", parse_address("t01000").unwrap(), data)
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = Signer::open(&config(dir.path())).unwrap();
        let path = dir.path().join("key");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        assert_eq!(Signer::open(&config(dir.path())).unwrap().did(), made.did());
        let named = Config { key: Some(path.clone()), ..config(Path::new("nowhere")) };
        assert_eq!(Signer::open(&named).unwrap().did(), made.did());
        // A key that is there, but broken, isn't replaced.
        std::fs::write(&path, "").unwrap();
        assert!(Signer::open(&config(dir.path())).is_err());
    }

    #[test]
    fn a_key_that_is_named_has_to_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let named = Config { key: Some(dir.path().join("mine")), ..config(dir.path()) };
        let error = Signer::open(&named).unwrap_err();
        assert!(error.to_string().starts_with("there is no key"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_secrets_of_ed25519_are_keys() {
        let multikey = |codec: &[u8], len| multibase::encode(Base::Base58Btc, [codec, &vec![7; len]].concat());
        let did = Signer::from_multikey(&format!("{}\n", multikey(&ED25519_PRIV, 32))).unwrap().did();
        // The public key of the secret 07 07 ….
        assert_eq!(did.as_str(), "did:key:z6MkvDqGT54cXesYGvABpF1UapVNwjCqRcafi4Px6Thv5T3Z");
        // secp256k1-priv, ed25519-pub, short, long.
        for wrong in [(&[0x81, 0x26], 32), (&[0xed, 0x01], 32), (&[0x80, 0x26], 31), (&[0x80, 0x26], 33)] {
            let error = Signer::from_multikey(&multikey(wrong.0, wrong.1)).unwrap_err();
            assert!(error.to_string().starts_with("expected a multikey"), "{error}");
        }
        assert!(Signer::from_multikey("").is_err());
    }
}
