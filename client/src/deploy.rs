//! Bringing the actor to a network: install its code at Init, then have Init make an actor of it.
//!
//! Public networks admit no native actors of users. That is found out by asking, before anything is signed.

use bucket_rpc::methods::StateNetworkName;
use cid::Cid;
use fvm_ipld_encoding::{RawBytes, tuple::*};
use fvm_shared::MethodNum;
use fvm_shared::address::Address;

use crate::actor::decode;
use crate::chain::Chain;
use crate::error::ClientError;
use crate::progress::Step;

/// Init's address on every network.
const INIT: Address = Address::new_id(1);
/// Makes an actor.
const EXEC: MethodNum = 2;
/// Brings code. Only networks with the FVM's feature `m2-native` have it.
const INSTALL_CODE: MethodNum = 4;

/// A module fills one block at most (ref-fvm `fvm/src/machine/mod.rs`, `max_block_size`); the rest is the message.
const INSTALL_BYTES_MAX: usize = (1 << 20) + 1024;

/// What `InstallCode` answers where it doesn't exist.
const NO_METHOD: u32 = 22;
/// What `Exec` answers to code that it doesn't admit.
const FORBIDDEN: u32 = 18;

#[derive(Serialize_tuple, Deserialize_tuple)]
struct InstallParams {
    code: RawBytes,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct InstallReturn {
    code_cid: Cid,
    installed: bool,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct ExecParams {
    code_cid: Cid,
    constructor_params: RawBytes,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct ExecReturn {
    id_address: Address,
    robust_address: Address,
}

/// An actor that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The network's name.
    pub network: String,
    /// The CID of its code.
    pub code: Cid,
    /// Whether the code was brought now; else it was there.
    pub installed: bool,
    /// Its f0 address.
    pub id: Address,
    /// Its f2 address, which survives a reorganisation of the chain.
    pub robust: Address,
    /// Gas of all messages together.
    pub gas_used: u64,
    /// The messages.
    pub messages: Vec<Cid>,
}

/// Deploys `wasm`. Fails with [`ClientError::Undeployable`], before anything is signed, where that can't be done.
pub async fn deploy(chain: &Chain, wasm: &[u8]) -> Result<Deployed, ClientError> {
    chain.signer()?;
    let network = chain.rpc().call::<StateNetworkName>(()).await?;
    if matches!(network.as_str(), "mainnet" | "calibrationnet") {
        let why = "its Init actor makes built-in actors only, and has no way to install code";
        return Err(ClientError::Undeployable { network, why: why.into() });
    }
    let chain = chain.clone().with_message_bytes_max(INSTALL_BYTES_MAX);
    let mut deployed = Deployed {
        network,
        code: code_cid(wasm),
        installed: false,
        id: INIT,
        robust: INIT,
        gas_used: 0,
        messages: vec![],
    };
    install(&chain, wasm, &mut deployed).await?;
    exec(&chain, &mut deployed).await?;
    Ok(deployed)
}

/// The CID under which the FVM knows `wasm`.
pub fn code_cid(wasm: &[u8]) -> Cid {
    const RAW: u64 = 0x55;
    use multihash_codetable::{Code, MultihashDigest};
    Cid::new_v1(RAW, Code::Blake2b256.digest(wasm))
}

async fn install(chain: &Chain, wasm: &[u8], deployed: &mut Deployed) -> Result<(), ClientError> {
    let params = fvm_ipld_encoding::to_vec(&InstallParams { code: RawBytes::new(wasm.to_vec()) });
    let params = params.expect("a tuple of bytes encodes");
    let simulated = match chain.call(INIT, INSTALL_CODE, params.clone()).await {
        Ok(bytes) => decode::<InstallReturn>("InstallCode", &bytes)?,
        // A network may admit our code without a way to bring it: then it came with its bundle.
        Err(ClientError::Abort { code: NO_METHOD, .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    if simulated.code_cid != deployed.code {
        let (expected, got) = (deployed.code.to_string(), simulated.code_cid.to_string());
        return Err(ClientError::Mismatch { expected, got });
    }
    if !simulated.installed {
        chain.tell(Step::Note(format!("code {} is installed already", deployed.code)));
        return Ok(());
    }
    chain.tell(Step::Note(format!("installing {} bytes of code {}", wasm.len(), deployed.code)));
    let sent = chain.send(INIT, INSTALL_CODE, params).await?;
    deployed.installed = true;
    deployed.gas_used += sent.gas_used;
    deployed.messages.push(sent.message);
    Ok(())
}

async fn exec(chain: &Chain, deployed: &mut Deployed) -> Result<(), ClientError> {
    let params = ExecParams { code_cid: deployed.code, constructor_params: RawBytes::default() };
    let params = fvm_ipld_encoding::to_vec(&params).expect("a tuple of a CID and bytes encodes");
    chain.tell(Step::Note("making an actor of it".into()));
    let sent = match chain.send(INIT, EXEC, params).await {
        Err(ClientError::Abort { code: FORBIDDEN, message }) if deployed.messages.is_empty() => {
            let why = format!("Init can't install code, and refuses to make an actor of it: {message}");
            return Err(ClientError::Undeployable { network: deployed.network.clone(), why });
        }
        sent => sent?,
    };
    let made: ExecReturn = decode("Exec", &sent.value)?;
    deployed.id = made.id_address;
    deployed.robust = made.robust_address;
    deployed.gas_used += sent.gas_used;
    deployed.messages.push(sent.message);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_cid_is_that_of_the_built_actor() {
        assert_eq!(code_cid(bucket_actor_wasm::WASM), bucket_actor_wasm::code_cid());
    }
}
