//! Compiles the devnet's own actors to wasm.

fn main() {
    wasm_builder::build(&[
        "devnet-actor-init",
        "devnet-actor-account",
        "devnet-actor-ethaccount",
        "devnet-actor-noop",
        "devnet-actor-idle",
        "devnet-actor-hook",
    ]);
}
