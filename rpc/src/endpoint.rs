//! Where a node is, in the forms that Filecoin's tools write it.

use std::net::{Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use crate::RpcError;

/// The path at which Lotus answers; used when an address has none.
pub const DEFAULT_PATH: &str = "/rpc/v1";

/// A node's URL and the token to show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`, with a path.
    pub url: Url,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Endpoint").field("url", &self.url.as_str()).field("token", &token).finish()
    }
}

impl Endpoint {
    /// From a URL alone; `ws` and `wss` mean `http` and `https` at the same place.
    pub fn from_url(url: &str, token: Option<String>) -> Result<Self, RpcError> {
        let fail = |reason: String| RpcError::Endpoint { given: url.to_owned(), reason };
        let http = match url.split_once("://") {
            Some(("ws", rest)) => format!("http://{rest}"),
            Some(("wss", rest)) => format!("https://{rest}"),
            Some(("http" | "https", _)) => url.to_owned(),
            _ => return Err(fail("expected it to begin with http:// or https://".into())),
        };
        let mut url = Url::parse(&http).map_err(|e| fail(e.to_string()))?;
        if matches!(url.path(), "" | "/") {
            url.set_path(DEFAULT_PATH);
        }
        Ok(Self { url, token: token.filter(|token| !token.is_empty()) })
    }

    /// From the form of `FULLNODE_API_INFO`: `TOKEN:ADDRESS` or `ADDRESS`, where the address is a URL
    /// or a multiaddress such as `/ip4/127.0.0.1/tcp/1234/http`.
    ///
    /// lotus:cli/util/apiinfo.go `ParseApiInfo`.
    pub fn from_api_info(info: &str) -> Result<Self, RpcError> {
        let info = info.trim();
        let (token, address) = match info.split_once(':') {
            _ if info.starts_with('/') => (None, info),
            Some((_, rest)) if rest.starts_with("//") => (None, info),
            Some((token, address)) => (Some(token.to_owned()), address),
            None => (None, info),
        };
        if address.starts_with('/') {
            Self::from_url(&multiaddr_to_url(address)?, token)
        } else if address.contains("://") {
            Self::from_url(address, token)
        } else {
            Err(RpcError::Endpoint {
                // What stands before the colon may be a token, which must not be printed.
                given: address.to_owned(),
                reason: "expected TOKEN:/ip4/127.0.0.1/tcp/1234/http, TOKEN:http://host:1234 or \
                         either without the token"
                    .into(),
            })
        }
    }
}

/// Reads `/<host kind>/<host>/tcp/<port>[/tls][/http|/https|/ws|/wss]`.
fn multiaddr_to_url(address: &str) -> Result<String, RpcError> {
    let fail = |reason: &str| RpcError::Endpoint {
        given: address.to_owned(),
        reason: format!("{reason}, as in /ip4/127.0.0.1/tcp/1234/http"),
    };
    let parts: Vec<&str> = address.split('/').skip(1).collect();
    let [kind, host, "tcp", port, rest @ ..] = parts.as_slice() else {
        return Err(fail("expected a host and a TCP port"));
    };
    let host = match *kind {
        "ip4" if host.parse::<Ipv4Addr>().is_ok() => (*host).to_owned(),
        "ip6" if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]"),
        "dns" | "dns4" | "dns6" | "dnsaddr" if !host.is_empty() => (*host).to_owned(),
        "ip4" | "ip6" => return Err(fail("expected an IP address")),
        _ => return Err(fail("expected ip4, ip6, dns, dns4 or dns6 first")),
    };
    let port: u16 = port.parse().map_err(|_| fail("expected a port of at most 65535"))?;
    let scheme = match rest {
        [] | ["http" | "ws"] => "http",
        ["https" | "wss"] | ["tls"] | ["tls", "http" | "ws"] => "https",
        _ => return Err(fail("expected http, https, ws, wss or nothing after the port")),
    };
    Ok(format!("{scheme}://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(info: &str) -> Result<(String, Option<String>), String> {
        let endpoint = Endpoint::from_api_info(info).map_err(|e| e.to_string())?;
        Ok((endpoint.url.to_string(), endpoint.token))
    }

    #[test]
    fn api_info_in_all_its_forms() {
        let token = || Some("aa.b-b.c_c".to_owned());
        let cases = [
            ("aa.b-b.c_c:/ip4/127.0.0.1/tcp/1234/http", "http://127.0.0.1:1234/rpc/v1", token()),
            ("aa.b-b.c_c:http://10.0.0.1:1234", "http://10.0.0.1:1234/rpc/v1", token()),
            ("aa.b-b.c_c:https://h.example/rpc/v1", "https://h.example/rpc/v1", token()),
            ("/ip4/127.0.0.1/tcp/1234", "http://127.0.0.1:1234/rpc/v1", None),
            ("/ip6/::1/tcp/1234/http", "http://[::1]:1234/rpc/v1", None),
            ("/dns4/h.example/tcp/8443/https", "https://h.example:8443/rpc/v1", None),
            ("/dns/h.example/tcp/8443/wss", "https://h.example:8443/rpc/v1", None),
            ("/dns6/h.example/tcp/80/tls/http", "https://h.example:80/rpc/v1", None),
            ("http://127.0.0.1:1234/", "http://127.0.0.1:1234/rpc/v1", None),
            ("ws://127.0.0.1:1234/rpc/v0", "http://127.0.0.1:1234/rpc/v0", None),
            (" :http://127.0.0.1:1\n", "http://127.0.0.1:1/rpc/v1", None),
        ];
        for (info, url, token) in cases {
            assert_eq!(read(info), Ok((url.to_owned(), token)), "{info}");
        }
    }

    #[test]
    fn other_forms_are_refused_without_printing_the_token() {
        for info in [
            "",
            "127.0.0.1",
            "secret:127.0.0.1:1234",
            "secret:/ip4/localhost/tcp/1234/http",
            "secret:/ip4/127.0.0.1/udp/1234",
            "secret:/ip4/127.0.0.1/tcp/70000",
            "secret:/ip4/127.0.0.1/tcp/1/quic",
            "secret:ftp://127.0.0.1",
            "secret:http://",
        ] {
            let error = read(info).expect_err(info);
            assert!(error.contains("expected") || error.contains("host"), "{info}: {error}");
            assert!(!error.contains("secret"), "{info}: {error}");
        }
        let shown = format!("{:?}", Endpoint::from_api_info("secret:http://h:1").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
