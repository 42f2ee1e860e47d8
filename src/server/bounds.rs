//! How long a connection may stay, and which one gives way to a new one. No I/O.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::time::OnceAMinute;

/// How long a whole head may take, since the connection was opened or the last answer was read; a body may take as long
/// again. Browsers and proxies send both at once.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// How long a connection may wait for requests in all.
pub(super) const ALL_WAITS: Duration = Duration::from_secs(20);
/// How old a connection gets, whatever it does. The slowest answer is that of `debug verify`: its client waits a minute.
pub(super) const AGE: Duration = Duration::from_mins(2);
/// How long the client of an answer that goes on may read nothing of it. Whoever gives one writes something more often.
pub(super) const UNREAD: Duration = Duration::from_secs(45);
/// Connections of one address at the same time. Many people may share one, and a browser opens six at most.
pub(super) const OF_ONE_ADDRESS: usize = 64;

/// How far a connection has come, and until when it may go on so.
#[derive(Debug)]
pub(super) struct Pace {
    opened: Instant,
    /// Since when it waits for what comes next from the client.
    since: Cell<Instant>,
    /// How long it has waited before that, in all.
    waited: Cell<Duration>,
    answering: Cell<bool>,
    /// The answer has begun, and ends when the handler or the client ends it.
    going_on: Cell<bool>,
}

impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            opened: now,
            since: Cell::new(now),
            waited: Cell::default(),
            answering: Cell::default(),
            going_on: Cell::default(),
        }
    }

    /// A head has come; its body has not.
    pub(super) fn has_head(&self) {
        let now = Instant::now();
        self.waited.set(self.waited.get() + (now - self.since.replace(now)));
    }

    /// Nothing more is expected from the client until it is answered.
    pub(super) fn has_whole_request(&self) {
        self.has_head();
        self.answering.set(true);
    }

    /// The answer is there; the client may read it, and ask again.
    pub(super) fn waits(&self) {
        self.since.set(Instant::now());
        self.answering.set(false);
    }

    /// The answer has begun and goes on; there is no other request after it.
    pub(super) fn goes_on(&self) {
        self.since.set(Instant::now());
        self.going_on.set(true);
    }

    /// The client has read a part of an answer.
    pub(super) fn reads(&self) {
        self.since.set(Instant::now());
    }

    pub(super) fn is_answering(&self) -> bool {
        self.answering.get()
    }

    /// Another request might be cut off: the connection is too old, or has hardly any wait left. A client that asks again
    /// within a moment must not meet a connection that closes at that moment.
    pub(super) fn is_old(&self) -> bool {
        self.opened.elapsed() >= AGE / 2 || self.waited.get() + WAIT >= ALL_WAITS
    }

    /// When the connection ends if nothing more happens.
    pub(super) fn until(&self) -> Instant {
        if self.going_on.get() {
            return self.since.get() + UNREAD;
        }
        let end = self.opened + AGE;
        if self.is_answering() {
            return end;
        }
        let left = ALL_WAITS.saturating_sub(self.waited.get());
        end.min(self.since.get() + WAIT.min(left))
    }
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Open {
    name: &'static str,
    most: usize,
    /// By number, so the oldest comes first.
    all: BTreeMap<u64, Connection>,
    next: u64,
    /// Names connections that gave way.
    full: OnceAMinute,
}

#[derive(Debug)]
struct Connection {
    /// `None` where addresses are not counted.
    address: Option<IpAddr>,
    pace: Rc<Pace>,
    task: AbortHandle,
}

/// A place for a new connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub number: u64,
    address: Option<IpAddr>,
}

impl Open {
    pub(super) fn new(name: &'static str, most: usize) -> Self {
        Self {
            name,
            most,
            all: BTreeMap::new(),
            next: 0,
            full: OnceAMinute::default(),
        }
    }

    /// A place for a connection from this address. Where there is none, the oldest connection without a whole request
    /// gives way: of the same address, or of all. `None` where all have one.
    pub(super) fn seat(&mut self, peer: Option<IpAddr>) -> Option<Seat> {
        let address = peer.filter(|peer| !is_loopback(peer.to_canonical())).map(subscriber);
        let of_it = |connection: &Connection| connection.address == address;
        if address.is_some() && self.all.values().filter(|c| of_it(c)).count() >= OF_ONE_ADDRESS {
            self.close_oldest_of(of_it)?;
        }
        if self.all.len() >= self.most {
            self.close_oldest()?;
        }
        self.next += 1;
        Some(Seat {
            number: self.next,
            address,
        })
    }

    /// The connection is open, and this task serves it.
    pub(super) fn take(&mut self, seat: Seat, pace: Rc<Pace>, task: AbortHandle) {
        let Seat { number, address } = seat;
        self.all.insert(number, Connection { address, pace, task });
    }

    /// It has ended.
    pub(super) fn leave(&mut self, number: u64) {
        self.all.remove(&number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Closes the oldest connection without a whole request.
    pub(super) fn close_oldest(&mut self) -> Option<()> {
        self.close_oldest_of(|_| true)
    }

    fn close_oldest_of(&mut self, among: impl Fn(&Connection) -> bool) -> Option<()> {
        if let Some(times) = self.full.tell() {
            tracing::warn!(
                listener = self.name,
                times,
                open = self.all.len(),
                most = self.most,
                "too many connections: for each new one the oldest without a whole request is closed"
            );
        }
        let gives_way = |connection: &Connection| !connection.pace.is_answering() && among(connection);
        let number = self.all.iter().find(|(_, c)| gives_way(c)).map(|(number, _)| *number)?;
        self.all.remove(&number)?.task.abort();
        Some(())
    }
}

/// What belongs to one subscriber: an IPv4 address, or the /64 of an IPv6 one.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Exactly the two addresses that proxies and tools on this machine connect from.
fn is_loopback(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}
