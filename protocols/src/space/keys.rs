//! Keys of a space: which part of it is for what, and which command's receipt counts under which key. One table.

use std::collections::BTreeMap;

use bucket_core::cid::Cid;
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Failure;
use bucket_core::task::Task;
use cid::multibase::{self, Base};
use cid::multihash::Multihash;

use crate::kv::charwise;

/// A key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;

/// What a part of a space is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What the service holds for the space: `/blob/<multihash in base58btc, z…>`.
    Blob,
    /// Content that was uploaded: `/upload/<its root's CID>`.
    Upload,
    /// What was delegated: `/delegation/<the delegation's CID>`.
    Delegation,
    /// Who is billed: `/subscription/<the account's DID>`.
    Subscription,
    /// What the service is asked to do: `/queue/<the CID of the invocation's block>`.
    Queue,
    /// What it has taken over from there: `/invoked/<the CID of the invocation's block>`.
    Invoked,
    /// What came of any task: `/receipt/<the CID of the task's block>`.
    Receipt,
}

/// A part of a space.
struct Part {
    kind: Kind,
    prefix: &'static str,
    /// The command whose receipts count here, and how its arguments name the rest of the key.
    command: Option<(&'static str, Name)>,
}

type Args = BTreeMap<String, Ipld>;
type Name = fn(&Args) -> Option<String>;

const PARTS: [Part; 7] = [
    Part { kind: Kind::Blob, prefix: "/blob/", command: Some(("/blob/add", blob)) },
    Part { kind: Kind::Upload, prefix: "/upload/", command: Some(("/upload/add", upload)) },
    Part { kind: Kind::Delegation, prefix: "/delegation/", command: Some(("/access/delegate", delegation)) },
    Part { kind: Kind::Subscription, prefix: "/subscription/", command: Some(("/subscription/add", subscription)) },
    Part { kind: Kind::Queue, prefix: "/queue/", command: None },
    Part { kind: Kind::Invoked, prefix: "/invoked/", command: None },
    Part { kind: Kind::Receipt, prefix: "/receipt/", command: None },
];

/// `{blob: {digest: bytes, size}}`.
fn blob(args: &Args) -> Option<String> {
    let Ipld::Map(blob) = args.get("blob")? else { return None };
    let Ipld::Bytes(digest) = blob.get("digest")? else { return None };
    let hash = Multihash::<64>::from_bytes(digest).ok()?;
    // A multihash with padded varints would have two keys.
    (hash.to_bytes() == *digest).then(|| multibase::encode(Base::Base58Btc, digest))
}

/// `{root: link, shards: [link]}`.
fn upload(args: &Args) -> Option<String> {
    link(args, "root")
}

/// `{delegation: link}`.
fn delegation(args: &Args) -> Option<String> {
    link(args, "delegation")
}

/// `{account: DID}`.
fn subscription(args: &Args) -> Option<String> {
    let Ipld::String(account) = args.get("account")? else { return None };
    account.parse::<BucketId>().ok().map(|did| did.to_string())
}

fn link(args: &Args, field: &str) -> Option<String> {
    if let Ipld::Link(cid) = args.get(field)? { Some(cid.to_string()) } else { None }
}

impl Kind {
    /// All kinds, in the order of their declaration.
    pub fn all() -> impl Iterator<Item = Self> {
        PARTS.iter().map(|part| part.kind)
    }

    /// The part that a key is in; `None` for what users keep there for themselves.
    pub fn of(key: &str) -> Option<Self> {
        PARTS.iter().find(|part| key.starts_with(part.prefix)).map(|part| part.kind)
    }

    fn part(self) -> &'static Part {
        &PARTS[self as usize]
    }

    /// How its keys begin, like `/blob/`.
    pub fn prefix(self) -> &'static str {
        self.part().prefix
    }

    /// The command whose receipts count here, if it is one alone.
    pub fn command(self) -> Option<&'static str> {
        self.part().command.map(|(command, _)| command)
    }

    /// Its key for this CID.
    pub fn key(self, cid: &Cid) -> String {
        format!("{}{cid}", self.prefix())
    }
}

/// The key under which a receipt of this task counts, beside the one in `/receipt/`. `None` for a task of another command, or
/// whose arguments aren't the command's.
pub fn key_of(task: &Task) -> Option<String> {
    let (part, name) = PARTS.iter().find_map(|part| {
        let (_, name) = part.command.filter(|(command, _)| *command == task.cmd)?;
        Some((part, name))
    })?;
    Some(format!("{}{}", part.prefix, name(&task.args)?))
}

/// Checks a key: any text that begins with a slash, and that the index can tell from any other.
pub fn check(key: &str) -> Result<(), Failure> {
    let shown = || key.chars().take(80).collect::<String>();
    let invalid = |expected: &str| Failure::new("KeyInvalid", format!("expected {expected}, got “{}”", shown()));
    if key.len() > KEY_BYTES_MAX {
        let message = format!("expected a key of at most {KEY_BYTES_MAX} bytes, got {}", key.len());
        return Err(Failure::new("KeyTooLong", message));
    }
    if !key.starts_with('/') {
        return Err(invalid("a key that begins with “/”"));
    }
    if !is_decodable(key) {
        return Err(invalid("a key that charwise can decode again within a list"));
    }
    Ok(())
}

/// Whether charwise can tell a text in a list from any other, see there.
fn is_decodable(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Beside one of these two it escapes `?`, else not, and takes what looks escaped for it.
    let escaped = bytes.iter().any(|byte| matches!(byte, b'!' | b'"'));
    let looks_so = || bytes.windows(2).any(|pair| matches!(pair, b"?@" | b"??" | b"?%"));
    bytes.iter().all(|byte| *byte > 1) && (escaped || !looks_so())
}

/// The key of an entry's row in the index.
pub fn row(key: &str) -> Ipld {
    Ipld::List(vec![Ipld::String("space".into()), Ipld::String("entry".into()), Ipld::String(key.into())])
}

/// The same as charwise encodes it. Most keys need no more than what is around them.
pub(super) fn encoded_row(key: &str) -> Vec<u8> {
    if key.contains(['!', '"']) {
        return charwise::encode(&row(key)).expect("a key that was checked").into_bytes();
    }
    format!("KJspace\"Jentry\"J{key}!").into_bytes()
}

#[cfg(test)]
mod tests {
    use bucket_core::cid::{DAG_CBOR, Hasher, NativeHasher, SHA2_256, block_cid};
    use proptest::prelude::*;

    use super::*;

    fn s(text: &str) -> Ipld {
        Ipld::String(text.into())
    }

    fn map<const N: usize>(entries: [(&str, Ipld); N]) -> Args {
        entries.map(|(key, value)| (key.to_owned(), value)).into()
    }

    fn task(cmd: &str, args: Args) -> Task {
        Task { sub: "did:key:zSpace".parse().unwrap(), cmd: cmd.into(), args, nonce: vec![] }
    }

    fn multihash() -> Multihash<64> {
        Multihash::wrap(SHA2_256, &NativeHasher::sha2_256(b"hello")).unwrap()
    }

    #[test]
    fn parts_stand_in_the_order_of_their_kinds_and_no_prefix_is_in_another() {
        for (at, part) in PARTS.iter().enumerate() {
            assert_eq!(part.kind as usize, at);
            assert_eq!(Kind::of(part.prefix), Some(part.kind));
            assert!(part.prefix.starts_with('/') && part.prefix.ends_with('/'));
        }
        assert_eq!(Kind::all().count(), PARTS.len());
        assert_eq!(Kind::of("/notes/a"), None);
        assert_eq!(Kind::of("/blob"), None);
    }

    #[test]
    fn tasks_have_keys() {
        let cid = block_cid::<NativeHasher>(DAG_CBOR, b"x");
        let blob = map([("digest", Ipld::Bytes(multihash().to_bytes())), ("size", Ipld::Integer(5))]);
        let cases = [
            // base58btc of 1220 2cf24dba…, as npm `multiformats` writes it.
            (
                task("/blob/add", map([("blob", Ipld::Map(blob))])),
                "/blob/zQmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5".to_owned(),
            ),
            (
                task("/upload/add", map([("root", Ipld::Link(cid)), ("shards", Ipld::List(vec![]))])),
                format!("/upload/{cid}"),
            ),
            (task("/access/delegate", map([("delegation", Ipld::Link(cid))])), format!("/delegation/{cid}")),
            (
                task("/subscription/add", map([("account", s("did:mailto:web.mail:a"))])),
                "/subscription/did:mailto:web.mail:a".into(),
            ),
        ];
        for (task, key) in &cases {
            assert_eq!(key_of(task).as_ref(), Some(key));
            assert_eq!(Kind::of(key).and_then(Kind::command), Some(&*task.cmd));
            assert_eq!(check(key), Ok(()));
        }
        let commands: Vec<_> = Kind::all().filter_map(Kind::command).collect();
        assert_eq!(commands.len(), cases.len());
        assert_eq!(Kind::Receipt.key(&cid), format!("/receipt/{cid}"));
    }

    #[test]
    fn other_arguments_have_none() {
        let padded = [&[0x92, 0x00][..], &multihash().to_bytes()[1..]].concat();
        let short = multihash().to_bytes()[..30].to_vec();
        let long = [multihash().to_bytes(), vec![0]].concat();
        for digest in [s("zQm"), Ipld::Bytes(padded), Ipld::Bytes(short), Ipld::Bytes(long), Ipld::Bytes(vec![])] {
            let args = map([("blob", Ipld::Map(map([("digest", digest.clone())])))]);
            assert_eq!(key_of(&task("/blob/add", args)), None, "{digest:?}");
        }
        for (cmd, args) in [
            ("/blob/add", map([])),
            ("/blob/add", map([("blob", s("a"))])),
            ("/upload/add", map([("root", s("bafy"))])),
            ("/access/delegate", map([("delegation", Ipld::Null)])),
            ("/subscription/add", map([("account", s("not a DID"))])),
            ("/blob/remove", map([])),
            ("/queue", map([])),
        ] {
            assert_eq!(key_of(&task(cmd, args)), None, "{cmd}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn keys_and_their_rows_are_what_charwise_says(key in "/[a?@%!\"\u{0}\u{1}\u{2}ü]{0,6}") {
            let encoded = charwise::encode(&row(&key)).ok();
            prop_assert_eq!(check(&key).is_ok(), encoded.is_some());
            if let Some(encoded) = encoded {
                prop_assert_eq!(encoded_row(&key), encoded.into_bytes());
            }
        }
    }

    #[test]
    fn keys_are_bounded() {
        let long = format!("/{}", "k".repeat(KEY_BYTES_MAX));
        for (key, name) in [
            ("", "KeyInvalid"),
            ("a", "KeyInvalid"),
            (&*long, "KeyTooLong"),
            ("/a\0", "KeyInvalid"),
            ("/what??", "KeyInvalid"),
        ] {
            assert_eq!(check(key).unwrap_err().name, name, "{key}");
        }
        for key in ["/", "//", "/a b", "/ü/!\"", "/what?", &long[..KEY_BYTES_MAX]] {
            assert_eq!(check(key), Ok(()), "{key}");
        }
    }
}
