//! The project against other people's npm packages: CARs of `car-transaction`, keys of `charwise`, the wallet `iso-filecoin`.
//! w3up's packages are in `ucanto`.
//!
//! The programs lie in `tests/js`; each answers one line of JSON for one line of JSON.

mod car;
mod charwise;
mod filecoin;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bucket_core::dag_cbor::Ipld;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// A node program that runs until it is dropped.
pub struct Program {
    name: &'static str,
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    pub fn start(name: &'static str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("js");
        assert!(directory.join("node_modules").is_dir(), "run npm ci --prefix tests/js");
        let mut process = Command::new("node")
            .arg(directory.join(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("node (20 or newer) is needed for the tests of {name}: {error}"));
        let stdin = process.stdin.take().expect("a pipe");
        let stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { name, process, stdin, stdout }
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.stdin, "{request}").unwrap_or_else(|error| panic!("{} has ended: {error}", self.name));
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{} has ended", self.name));
        assert!(answer.get("error").is_none(), "{}: {}\nasked: {request}", self.name, answer["error"]);
        answer
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A value as `tests/js/values.mjs` writes it.
fn tagged(value: &Ipld) -> Value {
    match value {
        Ipld::Null => Value::Null,
        Ipld::Bool(b) => json!(b),
        Ipld::String(text) => json!(text),
        Ipld::Integer(n) => json!({"i": n.to_string()}),
        Ipld::Float(x) => json!({"f": hex::encode(x.to_be_bytes())}),
        Ipld::Bytes(bytes) => json!({"b": hex::encode(bytes)}),
        Ipld::Link(cid) => json!({"l": cid.to_string()}),
        Ipld::List(items) => items.iter().map(tagged).collect(),
        Ipld::Map(map) => json!({"m": map.iter().map(|(key, value)| json!([key, tagged(value)])).collect::<Vec<_>>()}),
    }
}

fn untagged(value: &Value) -> Ipld {
    let tag = match value {
        Value::Null => return Ipld::Null,
        Value::Bool(b) => return Ipld::Bool(*b),
        Value::String(text) => return Ipld::String(text.clone()),
        Value::Array(items) => return Ipld::List(items.iter().map(untagged).collect()),
        Value::Object(tag) => tag.iter().next().expect("a tag"),
        Value::Number(n) => panic!("the number {n} has no tag"),
    };
    let content = || tag.1.as_str().expect("text");
    let bytes = || hex::decode(content()).expect("hex");
    match tag.0.as_str() {
        "i" => Ipld::Integer(content().parse().expect("an integer")),
        "f" => Ipld::Float(f64::from_be_bytes(bytes().try_into().expect("8 bytes"))),
        "b" => Ipld::Bytes(bytes()),
        "l" => Ipld::Link(content().parse().expect("a CID")),
        "m" => {
            let entry = |entry: &Value| (entry[0].as_str().expect("a key").to_owned(), untagged(&entry[1]));
            Ipld::Map(tag.1.as_array().expect("entries").iter().map(entry).collect())
        }
        tag => panic!("no value has the tag {tag}"),
    }
}

/// Where JavaScript's integers end.
const SAFE_MAX: i128 = (1 << 53) - 1;

/// Text with everything that could matter to an encoding: empty, separators, controls, every length of UTF-8.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,3}",
        "[JK?!\"@%\u{0}\u{1}\u{7f}\u{80}ß€\u{ffff}\u{10000}\u{10ffff}]{0,6}",
        any::<String>(),
        prop::sample::select(vec!["constructor", "toString", "0", "42", "/", "bytes"]).prop_map(Into::into),
    ]
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}
