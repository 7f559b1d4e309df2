//! Addresses of other services, as operators write them: `https://host/path`, `socks5://host:port`.
//!
//! Guarantees: an [`HttpsUrl`] is `https` and nothing else, and what it holds can stand in an HTTP request as it is.

use std::fmt;
use std::str::FromStr;

/// An `https` address without login or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl {
    /// The name that is connected to and verified.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, `/` at least.
    pub path: String,
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It begins with something else.
    #[error("{0:?} does not begin with {1}")]
    Scheme(String, &'static str),
    /// It holds a login, which is not repeated here.
    #[error("an address with a login in it")]
    Login,
    /// What follows cannot be used.
    #[error("{0:?} is no usable address")]
    Unusable(String),
}

/// The longest address, octets.
const LIMIT: usize = 2048;

impl FromStr for HttpsUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = after_scheme(text, "https://")?;
        let unusable = || UrlError::Unusable(text.to_owned());
        let printable = text.len() <= LIMIT && text.bytes().all(|octet| octet.is_ascii_graphic());
        if !printable || text.contains(['#', '\\']) {
            return Err(unusable());
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = host_and_port(authority, Some(443)).ok_or_else(unusable)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host, port, path })
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

impl HttpsUrl {
    /// Host and port as a request's Host field has them (RFC 9110 7.2).
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }
}

/// Host and port of a SOCKS5 proxy's address. `socks5h` is what curl calls a proxy that resolves names, as ours does.
///
/// # Errors
/// It is of another kind, or not whole.
pub fn socks5(text: &str) -> Result<(String, u16), UrlError> {
    let rest = after_scheme(text, "socks5h://").or_else(|_| after_scheme(text, "socks5://"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    host_and_port(rest, Some(1080)).ok_or_else(|| UrlError::Unusable(text.to_owned()))
}

/// Whether `host` can be looked up and connected to: a name or an address, without port or brackets.
pub fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_graphic()) && !host.contains(['/', '@', '[', ']'])
}

fn after_scheme<'a>(text: &'a str, scheme: &'static str) -> Result<&'a str, UrlError> {
    match text.split_at_checked(scheme.len()) {
        _ if text.contains('@') => Err(UrlError::Login),
        Some((start, rest)) if start.eq_ignore_ascii_case(scheme) => Ok(rest),
        _ => Err(UrlError::Scheme(text.to_owned(), scheme)),
    }
}

/// `host`, `host:port`, `[address]`, `[address]:port`.
fn host_and_port(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(default, |port| port.parse().ok().filter(|port| *port != 0))?;
    is_host(host).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_addresses_are_taken_apart() {
        for (text, host, port, path) in [
            ("https://oauth2.googleapis.com/token", "oauth2.googleapis.com", 443, "/token"),
            ("HTTPS://localhost:8443", "localhost", 8443, "/"),
            ("https://[::1]:8443/a?b=c", "::1", 8443, "/a?b=c"),
            ("https://host?x", "host", 443, "/?x"),
        ] {
            let url: HttpsUrl = text.parse().expect(text);
            assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path));
        }
        assert_eq!("https://[::1]:8443/".parse::<HttpsUrl>().expect("url").authority(), "[::1]:8443");
    }

    #[test]
    fn whatever_is_not_plainly_https_is_refused() {
        for text in ["http://host/", "host/token", "https://", "https://user@host/", "https://host:0/", "https://:443/"]
        {
            assert!(text.parse::<HttpsUrl>().is_err(), "{text}");
        }
        for text in
            ["https://host/a b", "https://host/\r\nX: y", "https://host/#a", "https://[host]/", "https://a:b:c/"]
        {
            assert!(text.parse::<HttpsUrl>().is_err(), "{text}");
        }
        assert!(format!("https://host/{}", "x".repeat(LIMIT)).parse::<HttpsUrl>().is_err());
    }

    #[test]
    fn a_proxy_is_socks5_with_host_and_port() {
        assert_eq!(socks5("socks5://127.0.0.1:9050"), Ok(("127.0.0.1".into(), 9050)));
        assert_eq!(socks5("socks5h://[::1]:9050/"), Ok(("::1".into(), 9050)));
        assert_eq!(socks5("socks5://tor"), Ok(("tor".into(), 1080)));
        for text in ["http://127.0.0.1:8080", "socks4://a:1", "127.0.0.1:9050", "socks5://user:x@a:1", "socks5://"] {
            assert!(socks5(text).is_err(), "{text}");
        }
        assert_eq!(socks5("socks5://user:secret@a:1"), Err(UrlError::Login));
    }
}
