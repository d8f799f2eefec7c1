//! The text form of addresses, and which network's letter it begins with.
//!
//! The letter is no part of an address: `f01` and `t01` are the same bytes, and Lotus reads both
//! (go-address `decode`). It only warns people. So both are read here, and one is written.

use std::sync::atomic::{AtomicBool, Ordering};

use fvm_shared::address::{Address, Network, set_current_network};

/// Whether addresses are written with `f`. A devnet is a test network, hence the default.
static MAINNET: AtomicBool = AtomicBool::new(false);

/// Chooses the letter that addresses are written with in this process.
///
/// This also sets `fvm_shared`'s own setting, which governs `Display` of [`Address`] and which starts
/// as mainnet: call it once early, with the result of [`network_named`] when a node is asked.
pub fn set_network(network: Network) {
    MAINNET.store(network == Network::Mainnet, Ordering::Relaxed);
    set_current_network(network);
}

/// The network whose letter is written.
pub fn network() -> Network {
    if MAINNET.load(Ordering::Relaxed) { Network::Mainnet } else { Network::Testnet }
}

/// Which letter a node uses, judged by its `Filecoin.StateNetworkName`.
///
/// Only the binary built for mainnet writes `f` (lotus:build/buildconstants/params_mainnet.go).
pub fn network_named(name: &str) -> Network {
    if name == "mainnet" { Network::Mainnet } else { Network::Testnet }
}

/// Writes an address with the letter of this process' network.
pub fn format_address(address: &Address) -> String {
    format_address_in(network(), address)
}

/// Writes an address with the letter of `network`.
pub fn format_address_in(network: Network, address: &Address) -> String {
    let mut text = address.to_string();
    let letter = match network {
        Network::Mainnet => "f",
        Network::Testnet => "t",
    };
    text.replace_range(..1, letter);
    text
}

/// An address that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("expected an address such as t01234 or f410f…, got {given:?}: {source}")]
pub struct AddressError {
    given: String,
    source: fvm_shared::address::Error,
}

/// Reads an address with either letter.
pub fn parse_address(text: &str) -> Result<Address, AddressError> {
    let network = if text.starts_with('t') { Network::Testnet } else { Network::Mainnet };
    network.parse_address(text).map_err(|source| AddressError { given: text.chars().take(140).collect(), source })
}
