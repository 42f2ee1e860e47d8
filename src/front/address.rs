//! Whose request it is, and whether that address has sent too much that nobody signed. Bounded memory, no clock.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::server::subscriber;

/// The address a request came from. `forwarded` (the values of `X-Forwarded-For`, in order) is believed only as far as
/// trusted proxies wrote it: from its end, up to the first address that is no proxy of ours.
pub fn client<'h>(peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'h str>, trusted: &[IpNet]) -> IpAddr {
    let is_ours = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut nearest = peer.to_canonical();
    let hops = forwarded.flat_map(|value| value.split(','));
    let mut hops: Vec<&str> = hops.map(str::trim).collect();
    while is_ours(nearest) {
        match hops.pop().map(hop) {
            Some(Some(address)) => nearest = address.to_canonical(),
            // What a proxy of ours wrote and we cannot read is the proxy's own doing.
            Some(None) | None => break,
        }
    }
    nearest
}

/// An address with or without port and brackets, as proxies write it.
fn hop(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[');
    bare.parse()
        .ok()
        .or_else(|| bare.split(']').next()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6))
        .or_else(|| bare.rsplit_once(':')?.0.parse().ok())
}

/// How many unsigned requests an address may send in a minute.
pub const JUNK_PER_MINUTE: u32 = 30;
/// How many addresses are remembered: half a megabyte.
const SLOTS: usize = 8192;
const MINUTE: Duration = Duration::from_mins(1);

/// Counts junk by address in a table of fixed size: each address has one place, by a hash that nobody outside knows, and
/// the newer one takes it. An attacker with thousands of addresses displaces only counts.
#[derive(Debug)]
pub struct JunkLimit {
    slots: Box<[Slot]>,
    hash: RandomState,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    who: u64,
    since: Duration,
    count: u32,
}

impl Default for JunkLimit {
    fn default() -> Self {
        Self {
            slots: vec![Slot::default(); SLOTS].into(),
            hash: RandomState::new(),
        }
    }
}

impl JunkLimit {
    /// Counts one unsigned request; whether its address has now sent more than it may. `now` is the time since
    /// any fixed moment.
    pub fn exceeded(&mut self, address: IpAddr, now: Duration) -> bool {
        let whole = self.hash.hash_one(subscriber(address)).max(1);
        let slot = &mut self.slots[whole as usize % SLOTS];
        if slot.who != whole || now.saturating_sub(slot.since) >= MINUTE {
            *slot = Slot {
                who: whole,
                since: now,
                count: 0,
            };
        }
        slot.count = slot.count.saturating_add(1);
        slot.count > JUNK_PER_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().expect("a network")).collect()
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted = networks(&["127.0.0.1/32", "10.0.0.0/8"]);
        let from = |peer: &str, forwarded: &[&str]| client(ip(peer), forwarded.iter().copied(), &trusted).to_string();
        assert_eq!(from("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(from("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(from("127.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(
            from("127.0.0.1", &["6.6.6.6, 1.2.3.4"]),
            "1.2.3.4",
            "the client wrote the first"
        );
        assert_eq!(from("127.0.0.1", &["6.6.6.6", "1.2.3.4, 10.1.1.1"]), "1.2.3.4");
        assert_eq!(from("127.0.0.1", &["1.2.3.4, rubbish"]), "127.0.0.1");
        assert_eq!(from("10.0.0.1", &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(from("::ffff:10.0.0.1", &["1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(from("10.0.0.1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(from("11.0.0.1", &["1.2.3.4"]), "11.0.0.1");
    }

    #[test]
    fn junk_is_counted_by_the_minute_and_by_subscriber() {
        let mut limit = JunkLimit::default();
        let at = Duration::from_secs;
        for n in 0..100 {
            let exceeded = limit.exceeded(ip("203.0.113.9"), at(10));
            assert_eq!(exceeded, n >= 30, "{n}");
        }
        assert!(!limit.exceeded(ip("203.0.113.9"), at(70)), "a minute later");
        for n in 0..31_u128 {
            let neighbour = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n));
            assert_eq!(limit.exceeded(neighbour, at(10)), n >= 30, "one /64 is one subscriber");
        }
        assert!(!limit.exceeded(ip("2001:db8:0:1::1"), at(10)));
    }

    #[test]
    fn many_addresses_take_no_more_memory() {
        let mut limit = JunkLimit::default();
        for n in 0..100_000_u32 {
            limit.exceeded(IpAddr::V4(n.into()), Duration::ZERO);
        }
        assert_eq!(limit.slots.len(), SLOTS);
    }
}
