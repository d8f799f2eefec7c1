//! Signed edits: what counts, and what is refused.

use bucket_core::dag_cbor;

use super::*;
use crate::space::SpaceError;
use crate::space::edit::EDIT_BYTES_MAX;

fn refused(bytes: &[u8]) -> String {
    Edit::decode(bytes, &space()).unwrap_err().to_string()
}

fn draft(author: u8) -> EditDraft {
    (**edit(author, 1, 5, ops([("/a", Some(1)), ("/b", None)]))).clone()
}

#[test]
fn an_edit_is_known_by_its_bytes() {
    for author in [1, 2] {
        let made = edit(author, 7, 99, ops([("/a", Some(1)), ("/b", None)]));
        let read = Edit::decode(&made.bytes, &space()).unwrap();
        assert_eq!(read, *made);
        assert_eq!(read.cid, block_cid::<NativeHasher>(DAG_CBOR, &made.bytes));
        assert_eq!(Edit::kept(made.bytes.clone()).unwrap(), read);
        assert_eq!((read.n, read.time, read.author.clone()), (7, 99, key(author).did()));
    }
}

#[test]
fn all_kinds_of_keys_sign() {
    for kind in [IdentityKind::Ed25519, IdentityKind::Secp256k1, IdentityKind::P256] {
        let key = Identity::from_secret(kind, &[9; 32]).unwrap();
        let proofs = vec![delegation(&SPACE, &key.did(), "/", None)];
        let made = EditDraft { author: key.did(), proofs, ..draft(1) }.seal(&key).unwrap();
        assert_eq!(Edit::decode(&made.bytes, &space()).unwrap(), made, "{kind}");
    }
}

#[test]
fn any_changed_bit_is_refused() {
    let made = edit(2, 1, 5, ops([("/a", Some(1))]));
    for at in 0..made.bytes.len() {
        let mut bytes = made.bytes.clone();
        bytes[at] ^= 1;
        assert!(Edit::decode(&bytes, &space()).is_err(), "byte {at}");
    }
    assert!(Edit::decode(&made.bytes[..made.bytes.len() - 1], &space()).is_err());
    assert!(refused(&vec![0; EDIT_BYTES_MAX + 1]).contains("expected at most"));
}

#[test]
fn the_other_form_of_a_p256_signature_is_refused() {
    let key = Identity::from_secret(IdentityKind::P256, &[9; 32]).unwrap();
    let proofs = vec![delegation(&SPACE, &key.did(), "/", None)];
    let made = EditDraft { author: key.did(), proofs, ..draft(1) }.seal(&key).unwrap();
    let Ok(Ipld::List(mut parts)) = dag_cbor::decode(&made.bytes) else { panic!("a list") };
    let Ipld::Bytes(signature) = &parts[0] else { panic!("bytes") };
    let signature = p256::ecdsa::Signature::from_slice(signature).unwrap();
    let (r, s) = signature.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    parts[0] = Ipld::Bytes(other.to_bytes().to_vec());
    assert!(refused(&dag_cbor::encode(&Ipld::List(parts))).contains("expected a signature"));
}

#[test]
fn only_who_may_push_may_edit() {
    let (author, stranger) = (key(2), key(3));
    let by = |proofs: Vec<Vec<u8>>, time| EditDraft { proofs, time, ..draft(2) }.seal(&author);
    let given = |cmd: &str, exp| vec![delegation(&SPACE, &author.did(), cmd, exp)];
    by(given("/", None), 5).unwrap();
    by(given("/space", None), 5).unwrap();
    by(given("/space/push", Some(9)), 9_999).unwrap();
    let code = |made: Result<Edit, SpaceError>| made.unwrap_err().to_string();
    assert!(code(by(vec![], 5)).contains("InvalidClaim"));
    assert!(code(by(given("/kv", None), 5)).contains("InvalidCommand"));
    assert!(code(by(given("/space/push", Some(9)), 10_000)).contains("Expired"), "at the edit's own time");
    assert!(code(by(vec![delegation(&stranger, &author.did(), "/", None)], 5)).contains("InvalidClaim"));
    // A chain of two, and one with a link too many.
    let chain =
        vec![delegation(&SPACE, &stranger.did(), "/space", None), delegation(&stranger, &author.did(), "/space", None)];
    by(chain.clone(), 5).unwrap();
    assert!(code(by([chain, given("/", None)].concat(), 5)).contains("in their order"));
    // One that somebody else signed.
    let mut forged = delegation(&SPACE, &author.did(), "/", None);
    forged[10] ^= 1;
    assert!(code(by(vec![forged], 5)).contains("InvalidSignature"));
}

#[test]
fn a_policy_binds_edits() {
    let author = key(2);
    let pol = dag_cbor::decode(&dag_cbor::encode(&Ipld::List(vec![Ipld::List(vec![
        Ipld::String("<".into()),
        Ipld::String(".upto".into()),
        Ipld::Integer(10),
    ])])));
    let mut draft = draft(2);
    draft.proofs = vec![SPACE.delegate(&DelegationDraft {
        iss: space(),
        aud: author.did(),
        sub: Some(space()),
        cmd: "/space".into(),
        pol: Policy::from_ipld(pol.unwrap()).unwrap(),
        nonce: vec![],
        meta: None,
        nbf: None,
        exp: None,
    })];
    EditDraft { n: 9, ..draft.clone() }.seal(&author).unwrap();
    assert!(EditDraft { n: 10, ..draft }.seal(&author).unwrap_err().to_string().contains("MatchError"));
}

#[test]
fn what_says_something_else_is_refused() {
    let (author, other) = (key(2), key(3));
    let seal = |draft: EditDraft| draft.seal(&author).unwrap_err().to_string();
    assert!(EditDraft { author: other.did(), ..draft(2) }.seal(&author).is_err());
    assert!(seal(EditDraft { n: 0, ..draft(2) }).contains("1 or more"));
    assert!(seal(EditDraft { n: 1 << 53, ..draft(2) }).contains("2^53-1"));
    // One of another space, though everything else is right.
    let made = edit(2, 1, 5, ops([("/a", Some(1))]));
    assert!(Edit::decode(&made.bytes, &other.did()).unwrap_err().to_string().contains("expected one of"));
    // Another kind of token by the same author.
    assert!(refused(&delegation(&author, &other.did(), "/", None)).contains("space/edit@1"));
}
