//! Hashing a block again by whatever hash its CID names.

use cid::Cid;
use multihash_codetable::{Code, MultihashDigest};

/// What hashing a block again says of its CID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// The bytes hash to the CID.
    Same,
    /// They hash to something else.
    Different,
    /// The digest is cut so short that bytes for it could be made up.
    Short,
    /// This hash can't be computed here.
    Unknown,
}

const IDENTITY: u64 = 0x00;
/// blake2b of 8 to 512 bits has a code for each length in bytes.
const BLAKE2B: std::ops::RangeInclusive<u64> = 0xb201..=0xb240;
/// Shorter digests are no protection (boxo `verifcid`, `MinDigestSize`).
const DIGEST_BYTES_MIN: usize = 20;

/// Hashes `data` as `cid` says and compares.
pub fn check_hash(cid: &Cid, data: &[u8]) -> Hashed {
    let (code, digest) = (cid.hash().code(), cid.hash().digest());
    let same = |full: &[u8]| match full.starts_with(digest) {
        true if digest.len() < DIGEST_BYTES_MIN => Hashed::Short,
        true => Hashed::Same,
        false => Hashed::Different,
    };
    match code {
        IDENTITY if digest == data => Hashed::Same,
        IDENTITY => Hashed::Different,
        code if BLAKE2B.contains(&code) => {
            let length = (code - BLAKE2B.start() + 1) as usize;
            same(blake2b_simd::Params::new().hash_length(length).hash(data).as_bytes())
        }
        code => match Code::try_from(code) {
            Ok(hash) => same(hash.digest(data).digest()),
            Err(_) => Hashed::Unknown,
        },
    }
}

/// The name of a hash in the multicodec table, or its number.
pub fn hash_name(code: u64) -> String {
    let name = match code {
        IDENTITY => "identity",
        0x11 => "sha1",
        0x12 => "sha2-256",
        0x13 => "sha2-512",
        0x14 => "sha3-512",
        0x16 => "sha3-256",
        0x1b => "keccak-256",
        0x1d => "keccak-512",
        0x1e => "blake3",
        0x1012 => "sha2-256-trunc254-padded",
        0x1053 => "ripemd-160",
        0xb401 => "poseidon-bls12_381-a2-fc1",
        0xd5 => "md5",
        0xb220 => "blake2b-256",
        code if BLAKE2B.contains(&code) => return format!("blake2b-{}", 8 * (code - BLAKE2B.start() + 1)),
        other => return format!("0x{other:x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cid::multihash::Multihash;

    fn cid(code: u64, digest: &[u8]) -> Cid {
        Cid::new_v1(0x55, Multihash::wrap(code, digest).unwrap())
    }

    #[test]
    fn each_kind_of_hash() {
        let data = b"data";
        for code in [0x12, 0x13, 0x14, 0x16, 0x1b, 0x1e, 0x1053, 0xb220, 0xb240, 0xb260] {
            let hash = Code::try_from(code).unwrap();
            let cid = Cid::new_v1(0x55, hash.digest(data));
            assert_eq!(check_hash(&cid, data), Hashed::Same, "{}", hash_name(code));
            assert_eq!(check_hash(&cid, b"date"), Hashed::Different, "{}", hash_name(code));
        }
        assert_eq!(check_hash(&cid(0, data), data), Hashed::Same);
        assert_eq!(check_hash(&cid(0, b"date"), data), Hashed::Different);
        // MD5 and SHA-1 are broken: nothing that they vouch for is verified.
        assert_eq!(check_hash(&cid(0xd5, &[0; 16]), data), Hashed::Unknown);
        assert_eq!(check_hash(&cid(0x11, &[0; 20]), data), Hashed::Unknown);
        let blake2b_160 = blake2b_simd::Params::new().hash_length(20).hash(data);
        assert_eq!(check_hash(&cid(0xb214, blake2b_160.as_bytes()), data), Hashed::Same);
    }

    #[test]
    fn a_digest_may_be_cut_but_not_too_short() {
        let full = Code::Sha2_256.digest(b"data");
        assert_eq!(check_hash(&cid(0x12, &full.digest()[..20]), b"data"), Hashed::Same);
        assert_eq!(check_hash(&cid(0x12, &full.digest()[..4]), b"data"), Hashed::Short);
        assert_eq!(check_hash(&cid(0x12, &[]), b"data"), Hashed::Short);
    }
}
