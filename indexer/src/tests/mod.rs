//! Tests of the parts together: a real database file, real CARs, the real machine. Only the node is made up, and only where
//! the watcher is tested.

mod differ;
mod fake;
mod gateway;
mod http;
mod rig;
mod signed;
mod store;
mod sub;
mod traced;
mod watch;
