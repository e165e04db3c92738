//! Where a request comes from, for counting failures: the peer, or what a trusted proxy says of it.

use std::net::IpAddr;

use crate::limit::Source;

/// The source of a request. `X-Forwarded-For` is read from its right end and only as far as every
/// hop to the right of it is a proxy of ours; anything else in it is the client's own words.
pub(crate) fn source(peer: IpAddr, forwarded_for: &[&[u8]], trusted: &[IpAddr]) -> Source {
    let is_trusted = |address: &IpAddr| trusted.contains(&address.to_canonical());
    if !is_trusted(&peer) {
        return peer.into();
    }
    let hops = forwarded_for
        .iter()
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','));
    let mut nearest = peer;
    for hop in hops {
        let address = std::str::from_utf8(hop)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        match address {
            Some(address) if is_trusted(&address) => nearest = address,
            Some(address) => return address.into(),
            None => return nearest.into(),
        }
    }
    nearest.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let trusted = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let forwarded: Vec<&[u8]> = forwarded.iter().map(|value| value.as_bytes()).collect();
        let got = source(peer.parse().unwrap(), &forwarded, &trusted);
        assert_eq!(got.to_string(), expected, "{peer} {forwarded:?}");
    }

    #[test]
    fn believes_a_trusted_proxy_alone() {
        check("192.0.2.9", &[], "192.0.2.9/32");
        check("192.0.2.9", &["198.51.100.1"], "192.0.2.9/32");
        check("10.0.0.1", &[], "10.0.0.1/32");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1/32");
        check(
            "10.0.0.1",
            &["203.0.113.7, 198.51.100.1, 10.0.0.2"],
            "198.51.100.1/32",
        );
        check(
            "10.0.0.1",
            &["203.0.113.7", "198.51.100.1"],
            "198.51.100.1/32",
        );
        check("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1/32");
        check("::ffff:10.0.0.1", &["2001:db8::5"], "2001:db8::/64");
    }
}
