//! The program itself: its flags, its output, its ends.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use bucket_devnet::{IDLE, Message};
use bucket_rpc::{Client, Lotus, json::TipsetKey, methods::*};
use fvm_shared::econ::TokenAmount;

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bucket-devnet"));
    program.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    program
}

/// A running program, killed in the end.
struct Running {
    child: Child,
    client: Client,
}

impl Running {
    fn start(directory: &Path) -> Self {
        let mut child = program()
            .args(["--listen", "127.0.0.1:0", "--accounts", "2", "--mining", "instant", "--state"])
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("JSON-RPC at ").unwrap_or_else(|| panic!("{line:?}"));
        Self { client: Client::new(url, None).unwrap(), child }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let alice = bucket_devnet::Account::derive("bucket-devnet", 0).unwrap();
    let mut cids = Vec::new();
    let first = Running::start(directory.path());
    for _ in 0..5 {
        let message =
            Message { value: TokenAmount::from_whole(1), ..Message::new(alice.address(), alice.address(), 0, vec![]) };
        let estimated = first.client.call::<GasEstimateMessageGas>((message, None, TipsetKey::HEAD)).await.unwrap();
        let nonce = first.client.call::<MpoolGetNonce>((Lotus(alice.address()),)).await.unwrap();
        let signed = alice.sign(Message { nonce, ..estimated }).unwrap();
        cids.push(first.client.call::<MpoolPush>((signed,)).await.unwrap());
    }
    let head = first.client.call::<ChainHead>(()).await.unwrap();
    drop(first);

    let second = Running::start(directory.path());
    assert_eq!(second.client.call::<ChainHead>(()).await.unwrap(), head);
    assert_eq!(head.height, 10);
    for cid in cids {
        let found = second.client.call::<StateSearchMsg>((TipsetKey::HEAD, cid, -1, false)).await.unwrap();
        assert!(found.unwrap().receipt.exit_code.is_success());
    }
}

fn check_wasm(wasm: &[u8]) -> Output {
    let file = tempfile::NamedTempFile::with_suffix(".wasm").unwrap();
    std::fs::write(file.path(), wasm).unwrap();
    program().arg("check-wasm").arg(file.path()).output().unwrap()
}

#[test]
fn check_wasm_prints_the_code_cid_or_fails_with_the_reason() {
    let good = check_wasm(IDLE);
    assert!(good.status.success());
    let code = bucket_devnet::check::check_wasm(IDLE).unwrap().code_cid;
    assert_eq!(String::from_utf8(good.stdout).unwrap(), format!("{} bytes, code CID {code}\n", IDLE.len()));

    let bad = check_wasm(b"\0asm and so on");
    assert_eq!(bad.status.code(), Some(1));
    assert_eq!(bad.stdout, b"");
    let words = String::from_utf8(bad.stderr).unwrap();
    assert!(words.starts_with("error: ") && words.contains("the FVM's engine refuses the module"), "{words}");
}

#[test]
fn a_tight_limit_on_memory_is_explained() {
    let devnet = env!("CARGO_BIN_EXE_bucket-devnet");
    // 4 GB of address space, where the engine wants to reserve a thousand times as much.
    let limited = format!("ulimit -v 4000000 && exec '{devnet}' --listen 127.0.0.1:0");
    let output = Command::new("sh").args(["-c", &limited]).env_remove("RUST_BACKTRACE").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("lift the limit on virtual memory (`ulimit -v unlimited`)"), "{words}");
}

#[test]
fn wrong_flags_are_refused() {
    for (flags, expected) in [
        (["--mining", "often"], "expected `instant`, `interval:SECS` or `manual`, got \"often\""),
        (["--mining", "interval:0"], "with 0.001 to 2592000 seconds"),
        (["--bundle", "/does/not/exist.car"], "cannot read the bundle /does/not/exist.car"),
        (["--install", "/does/not/exist.wasm"], "cannot read /does/not/exist.wasm"),
        (["--accounts", "900"], "at most 900 accounts can be funded, not 901"),
    ] {
        let output = program().args(["--listen", "127.0.0.1:0"]).args(flags).output().unwrap();
        assert!(!output.status.success());
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains(expected), "{expected:?} is not in {words:?}");
    }
}
