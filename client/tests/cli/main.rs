//! The program `bucket` as users run it, as far as it needs no node.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use bucket_core::car::Car;
use bucket_core::cid::NativeHasher;
use serde_json::{Value, json};

/// Runs the program; answers its output, or its error's words.
fn bucket(home: &Path, args: &[&str], stdin: &str) -> Result<Value, String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bucket"));
    let program = program.env("BUCKET_HOME", home).args(["--json"]).args(args);
    let mut running = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    }
}

fn lines<'a>(entries: impl Iterator<Item = &'a Value>) -> String {
    entries.map(|entry| json!({"key": entry[0], "value": entry[1]}).to_string() + "\n").collect()
}

/// The published vectors, from the front and from the back, from stdin and from a file.
#[test]
fn import_builds_the_published_trees() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/vectors/prolly/trees.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (file, out) = (home.path().join("entries.ndjson"), home.path().join("tree.car"));
    let mut built = 0;
    for tree in vectors["trees"].as_array().unwrap() {
        // The largest are described by a rule, and some trees have keys and values that a space can't have.
        let Some(entries) = tree["entries"].as_array() else { continue };
        let fits = |entry: &Value| {
            entry[0].as_str().is_some_and(|key| key.starts_with('/')) && entry[1].to_string().len() < 250
        };
        if !entries.iter().all(fits) {
            continue;
        }
        std::fs::write(&file, lines(entries.iter().rev())).unwrap();
        let args = ["space", "import", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
        for (args, stdin) in [(&args[..], String::new()), (&["space", "import", "-"], lines(entries.iter()))] {
            let imported = bucket(home.path(), args, &stdin).unwrap();
            assert_eq!(imported["root"], tree["root"], "{}", tree["name"]);
            assert_eq!(imported["entries"], entries.len());
        }
        let car = Car::decode::<NativeHasher>(std::fs::read(&out).unwrap()).unwrap();
        assert_eq!(car.root().to_string(), tree["root"].as_str().unwrap());
        let nodes: u64 = tree["nodes"].as_array().unwrap().iter().map(|level| level.as_u64().unwrap()).sum();
        assert_eq!(car.blocks().count() as u64, nodes);
        built += 1;
    }
    assert!(built >= 5, "{built} vectors have entries");
}

#[test]
fn import_says_which_line_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let import = |stdin: &str| bucket(home.path(), &["space", "import", "-"], stdin);
    let one = r#"{"key":"/a","value":1}"#;
    // Twice the same is once.
    assert_eq!(import(&format!("{one}\n\n{one}\n")).unwrap()["entries"], 1);
    for (second, why) in [
        (r#"{"key":"b","value":1}"#, "line 2: KeyInvalid: expected a key that begins with “/”, got “b”"),
        (r#"{"key":"/a","value":2}"#, "line 2: expected each key once, got /a with another value than on line 1"),
        (r#"{"key":"/b"}"#, r#"line 2: expected {"key": text, "value": DAG-JSON}, got something else"#),
        (r#"["b", 1]"#, "line 2: expected {"),
        (r#"{"key":"/b","value":1,"more":1}"#, "line 2: expected {"),
        (r#"{"key":"/b","value":{"/":"bag"}}"#, "line 2: "),
        ("nonsense", "line 2: "),
    ] {
        let error = import(&format!("{one}\n{second}\n")).unwrap_err();
        let error: Value = serde_json::from_str(&error).unwrap();
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(why), "{second}: {message}");
    }
    let error = bucket(home.path(), &["space", "import", "nowhere.ndjson"], "").unwrap_err();
    assert!(error.contains("nowhere.ndjson"), "{error}");
}
