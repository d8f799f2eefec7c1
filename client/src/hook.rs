//! Hooks as people write them: `t01234:Receive`, an actor's address and a method.

use bucket_core::abi::Hook;
use bucket_rpc::json::parse_address;

/// Smaller numbers are for methods that nobody exports (FRC-0042, "Method number").
const EXPORTED_MIN: u32 = 1 << 24;

/// The number of a method's name (FRC-0042, "Method number": of blake2b-512 of `1|name` the first four bytes that are enough).
pub fn method_number(name: &str) -> Result<u64, String> {
    // "Method names": letters, digits and underscores, the first an upper-case letter or an underscore.
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_uppercase() || b == b'_');
    if !first || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!("expected a method's number or its name like OnReceipt, got “{name}”"));
    }
    let digest = blake2b_simd::blake2b(format!("1|{name}").as_bytes());
    let words = digest.as_bytes().chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    let found = words.into_iter().find(|number| *number >= EXPORTED_MIN);
    found.map(u64::from).ok_or_else(|| format!("“{name}” has no method number: take another name"))
}

/// Reads `ADDRESS:METHOD`, the method as a number or as a name.
pub fn parse(text: &str) -> Result<Hook, String> {
    let Some((to, method)) = text.split_once(':') else {
        return Err(format!("expected ADDRESS:METHOD, like t01234:OnReceipt, got “{text}”"));
    };
    let to = parse_address(to).map_err(|error| error.to_string())?;
    let method = method.parse().or_else(|_| method_number(method))?;
    Ok(Hook { to, method })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucket_core::abi::method;
    use fvm_shared::address::Address;

    #[test]
    fn names_have_numbers() {
        for (name, number) in
            [("Create", method::CREATE), ("Schedule", method::SCHEDULE), ("InvokeEVM", method::INVOKE_EVM)]
        {
            assert_eq!(method_number(name), Ok(number));
        }
        for bad in ["", "onReceipt", "1", "A-b", "Ä"] {
            assert!(method_number(bad).unwrap_err().contains("expected a method"), "{bad}");
        }
    }

    #[test]
    fn hooks_are_read() {
        let hook = Hook { to: Address::new_id(1234), method: method::CREATE };
        assert_eq!(parse("t01234:Create"), Ok(hook.clone()));
        assert_eq!(parse("f01234:508237557"), Ok(hook));
        assert!(parse("t01234").unwrap_err().contains("ADDRESS:METHOD"));
        assert!(parse("x:Create").unwrap_err().contains("expected an address"));
    }
}
