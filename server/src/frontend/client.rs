//! Who a request comes from, as far as shares are concerned.
//!
//! This is the one place that says which requests have the same client: today those from one IPv4 address, or from one
//! /64 of IPv6, which is what one host or one customer has. Once clients prove who they are, it will be their name.
//!
//! A *trusted* client has larger shares. By default that is this very host, because a broker beside its applications has
//! all its clients there; a balancer or a gateway that many clients come through belongs there as well.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use sixpin_core::broker::api::Client;

/// Bits of an IPv6 address that tell one client from another.
const IPV6_CLIENT_BITS: u8 = 64;

/// A range of addresses, as `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: u128,
    bits: u8,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        mask(number(address), self.bits) == self.first
    }
}

/// What is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotANetwork(String);

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no range of addresses: write 10.0.0.0/8, fd00::/8 or a single address", self.0)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_string());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        // IPv4 stands in the last 32 bits, so its ranges are that much longer.
        let (most, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        let bits = bits + before;
        Ok(Self { first: mask(number(address), bits), bits })
    }
}

/// This very host: 127.0.0.0/8 and `::1`.
pub fn this_host() -> Vec<Network> {
    let (v4, v6) = (Ipv4Addr::new(127, 0, 0, 0).into(), Ipv6Addr::LOCALHOST.into());
    vec![Network { first: number(v4), bits: 96 + 8 }, Network { first: number(v6), bits: 128 }]
}

/// The client behind an address.
pub fn at(address: IpAddr, trusted: &[Network]) -> Client {
    let address = address.to_canonical();
    let trusted = trusted.iter().any(|network| network.contains(address));
    let id = match address {
        IpAddr::V4(_) => number(address),
        IpAddr::V6(_) => mask(number(address), IPV6_CLIENT_BITS),
    };
    Client { id, trusted }
}

/// An address as a number; IPv4 as it is written in IPv6.
fn number(address: IpAddr) -> u128 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.to_bits()
}

/// The first `bits` of a number.
fn mask(number: u128, bits: u8) -> u128 {
    number & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        at(address.parse().unwrap(), &this_host())
    }

    #[test]
    fn a_client_is_an_address_or_a_64_of_ipv6() {
        assert_eq!(client("192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
    }

    #[test]
    fn trusted_is_what_is_in_a_range() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(client(address).trusted, "{address}");
        }
        for address in ["128.0.0.1", "::2", "2001:db8::1"] {
            assert!(!client(address).trusted, "{address}");
        }
        let all = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        assert!(at("192.0.2.1".parse().unwrap(), &all).trusted && at("2001:db8::1".parse().unwrap(), &all).trusted);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
