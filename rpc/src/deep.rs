//! JSON as deep as traces get.
//!
//! A trace nests a call's calls, two levels of JSON each, and the FVM lets actors call 1,024 deep (ref-fvm
//! `fvm/src/machine/mod.rs`, `max_call_depth`). serde_json refuses at 128 levels, so that no input overflows the stack: who
//! wanted to could make a trace that nobody can read. Here the depth is counted first, and what is deep gets a stack of its
//! own.

use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Deserializer, Error};

/// Levels that serde_json reads on any stack.
const SHALLOW: usize = 100;

/// 1,024 calls of two levels each, and what is around and inside of them.
const DEEP: usize = 2 * 1024 + 64;

/// The stack for what is deep, of which only what is used takes memory. Measured: the deepest trace takes between 2 and 4 MiB;
/// the rest is for builds without optimisation and types with larger frames.
const STACK_BYTES: usize = 64 << 20;

/// Reads a value.
pub fn from_str<T: DeserializeOwned + Send>(json: &str) -> Result<T, Error> {
    let depth = depth(json);
    if depth <= SHALLOW {
        return serde_json::from_str(json);
    }
    if depth > DEEP {
        return Err(Error::custom(format!("expected at most {DEEP} levels of nesting, got {depth}")));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("deep-json".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || unbounded(json)).map_err(Error::custom)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn unbounded<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    let mut deserializer = Deserializer::from_str(json);
    deserializer.disable_recursion_limit();
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// How deeply lists and maps are nested. Of what is no JSON it says something, which doesn't matter.
fn depth(json: &str) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                most = most.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
    }
    most
}

/// Up to the quote that ends it.
fn skip_text(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::ExecutionTrace;

    /// A trace of calls within calls, written without recursion.
    fn trace(calls: usize) -> String {
        let call = r#"{"Msg":{"From":"f01","To":"f02","Value":"0","Method":2,"Params":"","ParamsCodec":0},
            "MsgRct":{"ExitCode":0,"Return":"","ReturnCodec":0},"GasCharges":[{"Name":"[\"{","tg":1,"cg":1,"sg":0,"tt":0}],"Subcalls":["#;
        call.repeat(calls) + &"]}".repeat(calls)
    }

    fn calls(trace: &ExecutionTrace) -> usize {
        let (mut calls, mut at) = (1, trace);
        while let [inner] = &at.subcalls[..] {
            (calls, at) = (calls + 1, inner);
        }
        calls
    }

    #[test]
    fn the_deepest_trace_of_the_fvm_is_read() {
        for depth in [1, 49, 50, 64, 1024, 1025] {
            let read: ExecutionTrace = from_str(&trace(depth)).unwrap();
            assert_eq!(calls(&read), depth);
        }
        assert!(serde_json::from_str::<ExecutionTrace>(&trace(64)).is_err(), "serde_json alone doesn't");
    }

    #[test]
    fn what_is_deeper_is_refused_before_it_is_read() {
        for json in [trace(1100), trace(100_000), "[".repeat(10_000_000)] {
            let error = from_str::<ExecutionTrace>(&json).unwrap_err();
            assert!(error.to_string().starts_with("expected at most 2112 levels of nesting, got "), "{error}");
        }
    }

    #[test]
    fn deep_or_not_only_whole_values_are_read() {
        for depth in [1, 500] {
            let json = trace(depth);
            assert!(from_str::<ExecutionTrace>(&format!("{json} ")).is_ok());
            assert!(from_str::<ExecutionTrace>(&format!("{json}1")).is_err(), "something behind it");
            assert!(from_str::<ExecutionTrace>(&json[..json.len() - 1]).is_err(), "cut off");
        }
    }

    #[test]
    fn brackets_in_text_are_no_nesting() {
        for (json, expected) in
            [("1", 0), ("[]", 1), (r#"["[[\"[[","\\",{"]":[1,[]]}]"#, 4), (r#""[\\""#, 0), ("]]{}", 1)]
        {
            assert_eq!(depth(json), expected, "{json}");
        }
    }
}
