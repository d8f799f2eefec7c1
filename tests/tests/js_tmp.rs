#[path = "../it/js.rs"]
mod js;
