//! Prolly trees, against the plain way to make them (`kit`).

mod broken;
mod changes;
mod cost;
mod kit;
mod range;
mod sync;
mod vectors;
mod worst;
