//! The built-in protocols, one folder each. To add one: copy `echo/`, and add its line to [`table`].

// What `clippy.toml` beside this crate's manifest lists, and floats' arithmetic, could make native and wasm differ.
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
#![deny(clippy::float_arithmetic, clippy::iter_over_hash_type)]
// A panic is for what can't happen, and says why it can't.
#![deny(clippy::unwrap_used, clippy::panic)]

pub mod args;
pub mod echo;
pub mod kv;
pub mod space;
pub mod store;

use bucket_core::authority::{Openings, Revocations};
use bucket_core::cid::{Hasher, NativeHasher};
use bucket_core::protocol::Protocols;

/// All protocols by their numbers, in process.
pub const TABLE: Protocols = table::<NativeHasher>();

/// All protocols by their numbers, which are in the state of every bucket and never reused. What they hash by themselves, they
/// hash with `H`.
pub const fn table<H: Hasher>() -> Protocols {
    Protocols(
        const {
            &[
                (0, &echo::Echo),
                (1, &kv::Kv),
                (Revocations::NUMBER, &Revocations),
                (Openings::NUMBER, &Openings),
                (store::NUMBER, &store::Store),
                (space::NUMBER, &space::Space::<H>::NEW),
            ]
        },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_names_and_commands_are_each_once() {
        let protocols = TABLE.0;
        let numbers: BTreeSet<_> = protocols.iter().map(|(number, _)| number).collect();
        assert_eq!(numbers.len(), protocols.len());
        let commands: Vec<_> = protocols.iter().flat_map(|(_, protocol)| protocol.commands()).collect();
        assert_eq!(commands.iter().collect::<BTreeSet<_>>().len(), commands.len());
        for (_, protocol) in protocols {
            let prefix = format!("/{}", protocol.name());
            for command in protocol.commands() {
                assert!(*command == prefix || command.starts_with(&format!("{prefix}/")), "{command}");
            }
        }
    }
}
