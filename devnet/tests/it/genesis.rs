//! What there is before the first message.

use std::collections::BTreeSet;

use bucket_devnet::{Chain, Config, GenesisActor, IDLE, Message, account::Account};
use fvm_shared::{address::Address, econ::TokenAmount};

fn config() -> Config {
    Config { genesis_timestamp: Some(1_700_000_000), ..Config::default() }
}

#[test]
fn system_actors_and_funded_accounts_exist() {
    let chain = Chain::open(&config()).unwrap();
    let state = chain.state().unwrap();
    let mut codes = BTreeSet::new();
    for id in [0, 1, 2, 10, 99] {
        let (_, actor) = state.actor(&Address::new_id(id)).unwrap();
        codes.insert(actor.code.to_string());
    }
    // f099 is an account; all others differ.
    assert_eq!(codes.len(), 5);

    let first = chain.account(0).unwrap().address();
    let (id, actor) = state.actor(&first).unwrap();
    assert_eq!((id, actor.sequence), (100, 0));
    assert_eq!(actor.balance, TokenAmount::from_whole(1_000_000));
    assert_eq!(state.key_address(&Address::new_id(100)).unwrap(), first);
    assert_eq!(state.actor(&chain.account(9).unwrap().address()).unwrap().0, 109);
    assert!(chain.account(10).is_err());
    assert_eq!(chain.head().height(), 0);
}

#[test]
fn accounts_are_the_same_everywhere() {
    let account = Account::derive("bucket-devnet", 0).unwrap();
    assert_eq!(account.address().to_string()[1..], *"1hy4s3xgykwmt4s7hmesutiiumj2zucuewuco7yy");
    assert_eq!(account.address(), Account::from_private_key(&account.private_key()).unwrap().address());

    let export: serde_json::Value = serde_json::from_slice(&hex::decode(account.lotus_export()).unwrap()).unwrap();
    assert_eq!(export["Type"], "secp256k1");
    assert_eq!(export["PrivateKey"].as_str().unwrap().len(), 44);
}

#[test]
fn genesis_follows_from_the_settings() {
    let genesis = |config: &Config| Chain::open(config).unwrap().genesis().cid;
    assert_eq!(genesis(&config()), genesis(&config()));
    let others = [
        Config { seed: "other".into(), ..config() },
        Config { network_name: "other".into(), ..config() },
        Config { accounts: 3, ..config() },
        Config { genesis_timestamp: Some(1_700_000_001), ..config() },
    ];
    for other in others {
        assert_ne!(genesis(&other), genesis(&config()), "{other:?}");
    }
}

#[test]
fn code_can_be_installed_from_the_beginning() {
    let actor = GenesisActor { name: "idle".into(), wasm: IDLE.to_vec() };
    let mut chain = Chain::open(&Config { actors: vec![actor], ..config() }).unwrap();
    let alice = chain.account(0).unwrap();
    let code = bucket_devnet::check::check_wasm(IDLE).unwrap().code_cid;
    let deployed = chain.create(&alice, code, &[]).unwrap();
    // Accounts have the ids up to 1000.
    assert_eq!(deployed.id, Address::new_id(1001));
    let called = chain.send(&alice, Message::new(alice.address(), deployed.id, 7, vec![])).unwrap();
    assert!(called.receipt.exit_code.is_success());
}

#[test]
fn too_many_accounts_are_refused() {
    let error = Chain::open(&Config { accounts: 1000, eth_accounts: 0, ..config() }).err().unwrap().to_string();
    assert_eq!(error, "at most 900 accounts can be funded, not 1000");
}
