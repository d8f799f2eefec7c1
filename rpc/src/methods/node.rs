//! What a node says of itself.

use super::methods;
use crate::json::VersionInfo;

methods! {
    /// What runs, and the seconds between epochs.
    Version = "Filecoin.Version", () => VersionInfo;

    /// The EIP-155 id of the network as a hex quantity, such as `0x13a` for mainnet.
    EthChainId = "Filecoin.EthChainId", () => String;
}
