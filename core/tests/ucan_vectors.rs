//! The fixtures `1.0.0` of ucan-wg/spec, each with its verdict. They are not part of this repository: where they don't lie
//! beside it, the tests say so and pass.

mod ucan_kit;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::{Ipld, decode};
use bucket_core::ucan::{Delegation, Invocation, Policy, PublicKey};
use serde_json::Value;
use ucan_kit::*;

#[allow(clippy::disallowed_macros, reason = "who runs the tests wants to know")]
fn fixtures(name: &str) -> Option<Value> {
    let path = format!("{}/../../shared/vectors/ucan/{name}.json", env!("CARGO_MANIFEST_DIR"));
    match std::fs::read_to_string(&path) {
        Ok(json) => Some(serde_json::from_str(&json).unwrap()),
        Err(error) => {
            println!("skipped: cannot read {path}: {error}");
            None
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD_NO_PAD.decode(value["/"]["bytes"].as_str().unwrap()).unwrap()
}

#[test]
fn delegations() {
    let Some(fixtures) = fixtures("delegation") else { return };
    for case in list(&fixtures["valid"]) {
        let token = STANDARD.decode(case["token"].as_str().unwrap()).unwrap();
        let delegation = Delegation::decode::<NativeHasher>(&token).unwrap();
        assert_eq!(delegation.check_signature::<NativeHasher>(), Ok(()));
        assert_eq!(delegation.cid.to_string(), case["cid"]);
        let payload = &case["envelope"]["payload"];
        assert_eq!(delegation.iss.as_str(), payload["iss"]);
        assert_eq!(delegation.aud.as_str(), payload["aud"]);
        assert_eq!(delegation.sub.as_ref().unwrap().as_str(), payload["sub"]);
        assert_eq!(delegation.cmd, payload["cmd"]);
        assert_eq!(delegation.exp, payload["exp"].as_u64());
        assert_eq!(STANDARD.encode(&delegation.nonce), payload["nonce"]);
        // Alice's and Bob's secrets are given: the same draft gives the same token.
        for secret in fixtures["principals"].as_object().unwrap().values() {
            let secret = STANDARD.decode(secret.as_str().unwrap()).unwrap();
            let signer = Signer::Ed25519(ed25519_dalek::SigningKey::from_bytes(secret[2..].try_into().unwrap()));
            if signer.did() == delegation.iss {
                assert_eq!(signer.delegation(&delegation.draft), token);
            }
        }
    }
}

#[test]
fn invocations() {
    let Some(fixtures) = fixtures("invocation") else { return };
    let (valid, invalid) = (list(&fixtures["valid"]), list(&fixtures["invalid"]));
    assert!(valid.len() >= 7 && invalid.len() >= 13, "{} {}", valid.len(), invalid.len());
    for case in valid.iter().chain(invalid) {
        let invocation = bytes(&case["invocation"]);
        let proofs: Vec<_> = list(&case["proofs"]).iter().map(bytes).collect();
        let verdict = name(verify(&invocation, &proofs, case["time"].as_u64().unwrap()));
        assert_eq!(verdict, case["error"]["name"].as_str().unwrap_or("valid"), "{}", case["name"]);
        // Written again they are the same bytes.
        let draft = Invocation::decode(&invocation).unwrap().draft;
        let Ipld::List(envelope) = decode(&invocation).unwrap() else { panic!("a list") };
        let Ipld::Bytes(signature) = envelope[0].clone() else { panic!("bytes") };
        let key = PublicKey::from_did(draft.iss.as_str()).unwrap();
        assert_eq!(draft.seal(&key, |_| signature), invocation);
    }
}

#[test]
fn policies() {
    let Some(fixtures) = fixtures("policy") else { return };
    for (cases, expected) in [(&fixtures["valid"], true), (&fixtures["invalid"], false)] {
        for case in list(cases) {
            for source in list(&case["policies"]) {
                let policy = Policy::from_ipld(ipld(source)).unwrap();
                assert_eq!(policy.is_met(&ipld(&case["args"])), Ok(expected), "{source} {}", case["args"]);
                assert_eq!(policy.to_ipld(), ipld(source));
            }
        }
    }
}
