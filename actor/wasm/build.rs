//! Compiles the package `bucket-actor` to wasm.

fn main() {
    wasm_builder::build(&["bucket-actor"]);
}
