//! Init: installing code and creating actors of it.

use bucket_devnet::{
    Chain, Config, IDLE, Message,
    drive::{EXEC, INIT, INSTALL_CODE, exec_params, install_code_params},
};
use fvm_shared::{address::Address, econ::TokenAmount, error::ExitCode};

use crate::modules::{EVENT, emitter, padded_idle};

#[test]
fn install_exec_and_call() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let code = chain.install(&alice, IDLE).unwrap();
    assert_eq!(chain.install(&alice, IDLE).unwrap(), code);

    let (first, second) = (chain.create(&alice, code, &[]).unwrap(), chain.create(&alice, code, &[]).unwrap());
    assert_eq!((first.id, second.id), (Address::new_id(1001), Address::new_id(1002)));
    assert_ne!(first.robust, second.robust);
    let state = chain.state().unwrap();
    let (id, actor) = state.actor(&second.robust).unwrap();
    assert_eq!((id, actor.code), (1002, code));
    assert_eq!(state.robust_address(&second.id).unwrap(), second.robust);

    let called = chain.send(&alice, Message::new(alice.address(), second.robust, 99, vec![0x80])).unwrap();
    assert_eq!(called.receipt.exit_code, ExitCode::OK);
    assert_eq!(called.receipt.return_data.bytes(), b"");
}

#[test]
fn exec_passes_the_value_on() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let code = chain.install(&alice, IDLE).unwrap();
    let params = exec_params(code, &[]).unwrap();
    let message = Message { value: TokenAmount::from_whole(3), ..Message::new(alice.address(), INIT, EXEC, params) };
    let created = chain.send(&alice, message).unwrap().success().unwrap();
    let created = bucket_devnet::drive::exec_return(created.receipt.return_data.bytes()).unwrap();
    let (_, actor) = chain.state().unwrap().actor(&created.id).unwrap();
    assert_eq!(actor.balance, TokenAmount::from_whole(3));
}

#[test]
fn exec_admits_only_installed_code() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let code = bucket_devnet::check::check_wasm(IDLE).unwrap().code_cid;
    let message = Message::new(alice.address(), INIT, EXEC, exec_params(code, &[]).unwrap());
    let executed = chain.send(&alice, message).unwrap();
    assert_eq!(executed.receipt.exit_code, ExitCode::USR_FORBIDDEN);
    let expected = format!("code {code} is not installed: send it to InstallCode (4) first");
    assert!(executed.failure.contains(&expected), "{}", executed.failure);
}

#[test]
fn init_refuses_what_is_no_module_and_says_why() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let params = install_code_params(b"\0asm and so on").unwrap();
    let executed = chain.send(&alice, Message::new(alice.address(), INIT, INSTALL_CODE, params)).unwrap();
    assert_eq!(executed.receipt.exit_code, ExitCode::USR_ILLEGAL_ARGUMENT);
    for part in ["the FVM's engine refuses the module", "failed to install actor", "failed to validate actor wasm"] {
        assert!(executed.failure.contains(part), "{part:?} is not in {}", executed.failure);
    }
}

#[test]
fn init_refuses_wrong_parameters_and_methods() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let cases = [
        (EXEC, vec![], ExitCode::USR_ILLEGAL_ARGUMENT),
        (EXEC, vec![0xff], ExitCode::USR_SERIALIZATION),
        (INSTALL_CODE, vec![0x80], ExitCode::USR_SERIALIZATION),
        (3, vec![], ExitCode::USR_UNHANDLED_MESSAGE),
        (5, vec![], ExitCode::USR_UNHANDLED_MESSAGE),
    ];
    for (method, params, expected) in cases {
        let executed = chain.send(&alice, Message::new(alice.address(), INIT, method, params)).unwrap();
        assert_eq!(executed.receipt.exit_code, expected, "method {method}: {}", executed.failure);
    }
}

#[test]
fn a_constructor_that_fails_leaves_nothing() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    // The devnet's stand-in refuses every method, its constructor among them.
    let code = chain.install(&alice, devnet_actors_wasm::NOOP).unwrap();
    let message = Message::new(alice.address(), INIT, EXEC, exec_params(code, &[]).unwrap());
    let executed = chain.send(&alice, message).unwrap();
    assert_eq!(executed.receipt.exit_code, ExitCode::USR_UNHANDLED_MESSAGE);
    assert!(chain.state().unwrap().find(&Address::new_id(1001)).unwrap().is_none());

    let idle = chain.deploy(&alice, IDLE, &[]).unwrap();
    assert_eq!(idle.id, Address::new_id(1001));
}

#[test]
fn a_module_of_a_mebibyte_fits_and_a_larger_one_does_not() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let largest = padded_idle((1 << 20) - IDLE.len() - 7);
    assert!((1 << 20) - largest.len() < 4, "{}", largest.len());
    chain.deploy(&alice, &largest, &[]).unwrap();
    let too_large = padded_idle(1 << 20);
    let error = chain.install(&alice, &too_large).unwrap_err().to_string();
    assert!(error.contains("storing the module (at most 1 MiB)"), "{error}");
}

#[test]
fn events_are_kept_under_the_receipts_root() {
    let mut chain = Chain::open(&Config::default()).unwrap();
    let alice = chain.account(0).unwrap();
    let emitting = chain.deploy(&alice, &emitter(), &[]).unwrap();
    let executed =
        chain.send(&alice, Message::new(alice.address(), emitting.id, 2, vec![])).unwrap().success().unwrap();
    let root = executed.receipt.events_root.unwrap();
    let events = bucket_devnet::block::events(chain.store(), &root).unwrap();
    assert_eq!(events, executed.events);
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.emitter, 1001);
    let [entry] = &event.event.entries[..] else { panic!("{event:?}") };
    assert_eq!((entry.key.as_str(), entry.value.as_slice()), EVENT);
    assert_eq!(entry.codec, 0x55);
}
