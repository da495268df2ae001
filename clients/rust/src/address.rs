//! Addresses of brokers, as they are written.

use crate::error::Error;

/// What stands in front of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Nothing: TLS or not is decided by what else is configured.
    Bare,
    /// The same, and sessions speak gRPC.
    Grpc,
    /// No TLS.
    Http,
    /// TLS.
    Https,
}

const SCHEMES: [(&str, Scheme); 3] =
    [("grpc://", Scheme::Grpc), ("http://", Scheme::Http), ("https://", Scheme::Https)];

/// The address of a broker as a program gives it: what stands in front of it, and `host:port`.
pub(crate) fn endpoint(text: &str) -> Result<(Scheme, String), Error> {
    let text = text.trim();
    for (written, scheme) in SCHEMES {
        if let Some(rest) = text.strip_prefix(written) {
            return Ok((scheme, address(rest)?));
        }
    }
    Ok((Scheme::Bare, address(text)?))
}

/// `text` as `host:port`, without spaces around it: as brokers tell where others are.
pub(crate) fn address(text: &str) -> Result<String, Error> {
    let trimmed = text.trim();
    let port = trimmed.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if port.is_some_and(|port| port.parse::<u16>().is_ok()) && !trimmed.contains('/') {
        Ok(trimmed.to_owned())
    } else {
        Err(Error::Setting(format!(
            "`{trimmed}` is not the address of a broker: write `host:port`, with `https://` in front of it for TLS"
        )))
    }
}

/// The host of an address that was checked, without the brackets of IPv6.
pub(crate) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_front_is_understood() {
        for (text, scheme, address) in [
            ("a:1", Scheme::Bare, "a:1"),
            (" grpc://a:1 ", Scheme::Grpc, "a:1"),
            ("http://a:1", Scheme::Http, "a:1"),
            ("https://[::1]:1", Scheme::Https, "[::1]:1"),
        ] {
            assert_eq!(endpoint(text), Ok((scheme, address.to_owned())), "{text}");
        }
        for bad in ["https://", "https://a", "https://a:1/", "https://http://a:1", "ftp://a:1"] {
            assert!(endpoint(bad).unwrap_err().to_string().contains("https://"), "{bad}");
        }
    }

    #[test]
    fn a_host_has_no_brackets() {
        assert_eq!([host("a:1"), host("[::1]:1"), host("10.0.0.1:1")], ["a", "::1", "10.0.0.1"]);
    }
}
