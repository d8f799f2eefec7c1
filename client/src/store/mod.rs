//! Storing CARs through a bucket's `store`: what an uploader does.
//!
//! [`mod@provide`] names a service, [`source`] makes a CAR of any file, [`upload`] puts it where the service says, [`index`] tells
//! how entries stand, and [`verify`] finds the receipts that prove it.

pub mod index;
pub mod provide;
pub mod source;
pub mod upload;
pub mod verify;

pub use provide::provide;
pub use source::Source;
pub use verify::Proven;
