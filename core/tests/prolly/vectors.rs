//! The published vectors (`core/vectors/prolly`): made by the plain way, then read as somebody else would, and done again by
//! the implementation. `UPDATE_EXPECT=1` writes them anew.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bucket_core::cid::NativeHasher;
use bucket_core::dag_cbor::Ipld;
use bucket_core::prolly::{self, FACTOR, MAX, MIN, Op};
use expect_test::expect_file;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::kit::*;

#[derive(Serialize, Deserialize)]
struct Vectors {
    config: Config,
    trees: Vec<Case>,
    changes: Vec<Change>,
}

#[derive(Serialize, Deserialize)]
struct Config {
    min: usize,
    max: usize,
    factor: u32,
    cid: String,
    block: String,
}

#[derive(Serialize, Deserialize)]
struct Case {
    name: String,
    /// `[key, value]` each: the key is text, or `{"hex": …}`; the value is DAG-JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<(Value, Value)>>,
    /// So many entries by the formula in the README.
    #[serde(skip_serializing_if = "Option::is_none")]
    formula: Option<u32>,
    /// What is changed of them: `[key, value]`, or `[key]` where one is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    edits: Option<Vec<Vec<Value>>>,
    root: String,
    /// The `ProllyTree` block that names configuration and root.
    tree: String,
    /// Nodes of each level, the leaves first.
    nodes: Vec<usize>,
    /// All nodes of a small tree: CID and bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
struct Change {
    /// Names of trees.
    from: String,
    to: String,
    /// `[key, value]` or `[key]` each.
    ops: Vec<Vec<Value>>,
    /// Nodes that have to be read, and those that are new.
    read: Vec<String>,
    written: Vec<String>,
}

fn by_formula(count: u32) -> Entries {
    let entry = |n: u32| {
        let key = format!("/entry/{n:06}");
        let digest = Ipld::Bytes(Sha256::digest(key.as_bytes()).to_vec());
        let fields = [("at".to_owned(), Ipld::Integer(n.into())), ("digest".to_owned(), digest)];
        (key.into_bytes(), Ipld::Map(fields.into()))
    };
    (0..count).map(entry).collect()
}

fn text(key: &str, value: Ipld) -> (Vec<u8>, Ipld) {
    (key.as_bytes().to_vec(), value)
}

/// `count` entries of 64 bytes with integers as values, so that the hash of each but the one at `end` doesn't end a node.
fn with_one_end(count: usize, end: usize) -> Entries {
    let entry = |n: usize| {
        let key = format!("/{n:03}/{}", "k".repeat(56)).into_bytes();
        let value = (0..).map(Ipld::Integer).find(|value| is_boundary(&key, value) == (n == end));
        (key, value.expect("one of so many"))
    };
    (0..count).map(entry).collect()
}

/// 30 entries, the last of which brings the node to `size` bytes (its lists' heads take two bytes each) and whose hash ends a
/// node; and one more that doesn't.
fn of_size(size: usize) -> Entries {
    let small = |n: usize| (format!("/entry/{n:09}").into_bytes(), Ipld::Null);
    let mut entries: Entries = (0..29).map(small).collect();
    let key = small(29).0;
    let value = |fill: u8| Ipld::Bytes(vec![fill; size - 6 - 29 * 18 - 17 - 2]);
    let value = (0..=255).map(value).find(|value| is_boundary(&key, value)).expect("one of 256");
    entries.insert(key, value);
    assert_eq!(encode(&node(0, &entries.clone().into_iter().collect::<Vec<_>>())).len(), size);
    let next = |n| text("/entry/1", Ipld::Integer(n));
    entries.extend((0..24).map(next).find(|(key, value)| !is_boundary(key, value)));
    entries
}

fn kinds() -> Entries {
    let link = Ipld::Link(cid_of(b"a block"));
    let map = Ipld::Map(
        [("b".to_owned(), Ipld::Null), ("aa".to_owned(), link.clone()), ("".to_owned(), Ipld::Bool(true))].into(),
    );
    let list = Ipld::List([-1, -500, (1 << 53) - 1, 1 - (1 << 53)].map(Ipld::Integer).into());
    [
        (vec![], Ipld::Null),
        (vec![0], Ipld::Bool(false)),
        (vec![0, 0], Ipld::Float(1.5)),
        text("a", Ipld::Integer(0)),
        text("aa", Ipld::Integer(24)),
        text("b", list),
        text("key", Ipld::String("wert, valeur, 値".into())),
        text("ключ", Ipld::Bytes(vec![0, 1, 254, 255])),
        (vec![0xfe; 30], map),
        (vec![0xff], link),
    ]
    .into()
}

/// Where ends are decided: each pair differs by what is named.
fn cases() -> Vec<(&'static str, Entries)> {
    let long = |n: usize, len: usize| (vec![b'a' + n as u8], Ipld::Bytes(vec![n as u8; len]));
    vec![
        ("empty", Entries::new()),
        ("one entry", [text("key", Ipld::String("value".into()))].into()),
        ("kinds of keys and values", kinds()),
        ("a hash that would end a node, too early", with_one_end(30, 3)),
        ("a hash that ends a node", with_one_end(30, 20)),
        (
            "the same without that entry",
            with_one_end(30, 20).into_iter().enumerate().filter(|(n, _)| *n != 20).map(|(_, e)| e).collect(),
        ),
        ("a hash that would end a node of one byte less than the least size", of_size(MIN - 1)),
        ("a hash that ends a node of the least size", of_size(MIN)),
        ("no hash ends a node", with_one_end(260, usize::MAX)),
        ("a node one byte short of the greatest size", [long(0, 4090), long(1, 4087), long(2, 1)].into()),
        ("a node of the greatest size", [long(0, 4090), long(1, 4088), long(2, 1)].into()),
        ("keys of 512 bytes", (0..9u8).map(|n| (vec![n; 512], Ipld::Integer(n.into()))).collect()),
    ]
}

fn key_json(key: &[u8]) -> Value {
    std::str::from_utf8(key).map_or_else(|_| json!({"hex": hex::encode(key)}), |text| json!(text))
}

fn key_of(json: &Value) -> Vec<u8> {
    match json {
        Value::String(text) => text.as_bytes().to_vec(),
        json => hex::decode(json["hex"].as_str().unwrap()).unwrap(),
    }
}

fn dag_json(value: &Ipld) -> Value {
    match value {
        Ipld::Null => Value::Null,
        Ipld::Bool(value) => json!(value),
        Ipld::Integer(n) => json!(i64::try_from(*n).unwrap()),
        Ipld::Float(x) => json!(x),
        Ipld::String(text) => json!(text),
        Ipld::Bytes(bytes) => json!({"/": {"bytes": STANDARD_NO_PAD.encode(bytes)}}),
        Ipld::List(list) => list.iter().map(dag_json).collect(),
        Ipld::Map(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), dag_json(value))).collect()),
        Ipld::Link(cid) => json!({"/": cid.to_string()}),
    }
}

fn value_of(json: &Value) -> Ipld {
    match json {
        Value::Null => Ipld::Null,
        Value::Bool(value) => Ipld::Bool(*value),
        Value::Number(n) => match n.to_string().parse() {
            Ok(n) => Ipld::Integer(n),
            Err(_) => Ipld::Float(n.as_f64().unwrap()),
        },
        Value::String(text) => Ipld::String(text.clone()),
        Value::Array(list) => Ipld::List(list.iter().map(value_of).collect()),
        Value::Object(map) => match map.get("/") {
            Some(Value::String(cid)) => Ipld::Link(cid.parse().unwrap()),
            Some(bytes) => Ipld::Bytes(STANDARD_NO_PAD.decode(bytes["bytes"].as_str().unwrap()).unwrap()),
            None => Ipld::Map(map.iter().map(|(key, value)| (key.clone(), value_of(value))).collect()),
        },
    }
}

fn config_block() -> Vec<u8> {
    let int = |n: i128| Ipld::Integer(n);
    let strategy = Ipld::Map([("hashThreshold".into(), Ipld::List(vec![int(FACTOR.into()), int(0x12)]))].into());
    encode(&Ipld::List(vec![int(MIN as i128), int(MAX as i128), int(1), int(0x71), int(0x12), Ipld::Null, strategy]))
}

fn trees() -> Vec<(Case, Entries)> {
    let mut trees = Vec::new();
    for (name, entries) in cases() {
        let listed = entries.iter().map(|(key, value)| (key_json(key), dag_json(value))).collect();
        trees.push((Case { entries: Some(listed), ..case(name, &entries) }, entries));
    }
    for (name, count) in [("1,000 entries", 1000), ("10,000 entries", 10_000)] {
        let entries = by_formula(count);
        trees.push((Case { formula: Some(count), ..case(name, &entries) }, entries));
    }
    let edits = [
        (b"/entry/000250".to_vec(), Some(Ipld::Null)),
        (b"/entry/000500x".to_vec(), Some(Ipld::String("new".into()))),
        (b"/entry/000750".to_vec(), None),
    ];
    let mut entries = by_formula(1000);
    do_to(&mut entries, &edits);
    let edits = edits.iter().map(|(key, value)| op_json(key, value.as_ref())).collect();
    trees.push((Case { formula: Some(1000), edits: Some(edits), ..case("1,000 entries, edited", &entries) }, entries));
    trees
}

fn op_json(key: &[u8], value: Option<&Ipld>) -> Vec<Value> {
    std::iter::once(key_json(key)).chain(value.map(dag_json)).collect()
}

fn ops_of(ops: &[Vec<Value>]) -> Vec<Op> {
    ops.iter().map(|op| (key_of(&op[0]), op.get(1).map(value_of))).collect()
}

fn case(name: &str, entries: &Entries) -> Case {
    let (root, nodes) = naive(entries);
    let tree = Ipld::List(vec![Ipld::Link(cid_of(&config_block())), Ipld::Link(root)]);
    let mut counts = vec![0; usize::from(nodes[&root][1]) + 1];
    nodes.values().for_each(|bytes| counts[usize::from(bytes[1])] += 1);
    let blocks = nodes.iter().map(|(cid, bytes)| (cid.to_string(), hex::encode(bytes)));
    Case {
        name: name.to_owned(),
        entries: None,
        formula: None,
        edits: None,
        root: root.to_string(),
        tree: cid_of(&encode(&tree)).to_string(),
        nodes: counts,
        blocks: (nodes.len() <= 4).then(|| blocks.collect()),
    }
}

/// Names of two trees, the second of which comes from the first by the difference of their entries.
const CHANGES: [(&str, &str); 6] = [
    ("empty", "one entry"),
    ("kinds of keys and values", "empty"),
    ("a hash that ends a node", "the same without that entry"),
    ("the same without that entry", "a hash that ends a node"),
    ("1,000 entries", "1,000 entries, edited"),
    ("1,000 entries, edited", "1,000 entries"),
];

fn change(from: &(Case, Entries), to: &(Case, Entries)) -> Change {
    let keys: std::collections::BTreeSet<_> = from.1.keys().chain(to.1.keys()).collect();
    let differs = keys.into_iter().filter(|key| from.1.get(*key) != to.1.get(*key));
    let ops = differs.map(|key| op_json(key, to.1.get(key))).collect();
    let (root, before) = naive(&from.1);
    let mut change = Change { from: from.0.name.clone(), to: to.0.name.clone(), ops, read: vec![], written: vec![] };
    let mut store = Store::default();
    store.nodes = before.clone();
    tree(&store, root).apply(&ops_of(&change.ops)).unwrap();
    change.read = store.take_read().0.iter().map(ToString::to_string).collect();
    let after = naive(&to.1).1;
    change.written = after.keys().filter(|cid| !before.contains_key(*cid)).map(ToString::to_string).collect();
    change
}

#[test]
fn are_made_the_plain_way() {
    let trees = trees();
    let tree = |name| trees.iter().find(|(case, _)| case.name == name).unwrap();
    let changes = CHANGES.iter().map(|(from, to)| change(tree(*from), tree(*to))).collect();
    let block = config_block();
    let (cid, block) = (cid_of(&block).to_string(), hex::encode(block));
    let config = Config { min: MIN, max: MAX, factor: FACTOR, cid, block };
    let vectors = Vectors { config, trees: trees.into_iter().map(|(case, _)| case).collect(), changes };
    let json = serde_json::to_string_pretty(&vectors).unwrap() + "\n";
    expect_file!["../../vectors/prolly/trees.json"].assert_eq(&json);
}

#[test]
fn are_what_the_implementation_makes() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../vectors/prolly/trees.json")).unwrap();
    let (cid, block) = prolly::config::<NativeHasher>();
    assert_eq!((cid.to_string(), hex::encode(block)), (vectors.config.cid, vectors.config.block));
    let mut store = Store::default();
    let mut roots = BTreeMap::new();
    for case in vectors.trees {
        let mut entries = case.formula.map(by_formula).unwrap_or_default();
        entries.extend(case.entries.iter().flatten().map(|(key, value)| (key_of(key), value_of(value))));
        do_to(&mut entries, &ops_of(&case.edits.unwrap_or_default()));
        let built = build(&entries);
        assert_eq!(built.root.to_string(), case.root, "{}", case.name);
        assert_eq!(prolly::descriptor::<NativeHasher>(&built.root).0.to_string(), case.tree);
        assert_eq!(built.nodes.len(), case.nodes.iter().sum::<usize>());
        if let Some(blocks) = case.blocks {
            let ours = built.nodes.iter().map(|(cid, bytes)| (cid.to_string(), hex::encode(bytes)));
            assert_eq!(ours.collect::<BTreeMap<_, _>>(), blocks, "{}", case.name);
        }
        store.keep(&built);
        assert_eq!(all(&tree(&store, built.root)).unwrap(), entries);
        roots.insert(case.name, built.root);
    }
    for change in vectors.changes {
        let (from, to) = (roots[&change.from], roots[&change.to]);
        let cids = |cids: &[String]| cids.iter().map(|cid| cid.parse().unwrap()).collect::<Vec<cid::Cid>>();
        let witness: Nodes = cids(&change.read)
            .into_iter()
            .filter_map(|cid| store.nodes.get_key_value(&cid))
            .map(|(cid, bytes)| (*cid, bytes.clone()))
            .collect();
        let mut written = tree(&witness, from).apply(&ops_of(&change.ops)).unwrap();
        assert_eq!(written.root, to);
        written.nodes.sort();
        assert_eq!(written.nodes.iter().map(|(cid, _)| *cid).collect::<Vec<_>>(), cids(&change.written));
    }
}
