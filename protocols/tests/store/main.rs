//! The protocol `store`: its table against the requirements' words, the machine against a model, threads, and a worker that
//! crashes.

mod commands;
mod diagram;
mod effects;
mod kit;
mod linear;
mod matrix;
mod room;
mod rows;
mod spec;
mod worker;
