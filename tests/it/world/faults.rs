//! What can go wrong in the world, and the weather: how likely each of it is for a while.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal),+ $(,)?) => {
        /// One kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind),+ }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// How the table of `just prove` calls it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => concat!("world: ", $name)),+ }
            }
        }
    };
}

kinds! {
    Kill = "kill",
    KillBeforeCommit = "kill before a commit",
    KillAfterCommit = "kill after a commit",
    Drain = "drain and restart",
    DiskFull = "disk full while running",
    ClockStep = "clock step of an hour",
    StageDied = "a stage dies",
    ListenerDied = "panic in a history reading",
    CommitSlow = "slow commit",
    ExchangeNotSent = "no connection on exchange",
    ExchangeLimited = "429 on exchange",
    ExchangeFailed = "5xx on exchange",
    ExchangeCut = "exchange cut off",
    ExchangePanic = "panic in an exchange",
    ExchangeSlow = "slow exchange",
    Credentials = "invalid_client",
    FetchUnauthorized = "401 on a fresh token",
    FetchLimited = "429 on fetch",
    FetchFailed = "5xx on fetch",
    FetchRefused = "fetch refused",
    FetchPanic = "panic in a fetch",
    FetchSlow = "slow fetch",
    RevokeLimited = "429 on revoke",
    RevokeFailed = "5xx on revoke",
    RevokeCut = "revocation cut off",
    RevokePanic = "panic in a revocation",
    RevokeSlow = "slow revocation",
    DeliveryFailed = "delivery failed",
    DeliveryCut = "delivery cut off",
    DeliveryRefused = "delivery refused",
    DeliveryPanic = "panic in a delivery",
    InviteLimited = "429 on a direct message",
    InviteCut = "direct message without an answer",
    InviteClosed = "direct messages closed",
    InvitePanic = "panic in an invitation",
    PostLimited = "429 on a webhook post",
    PostUnknown = "webhook post without an answer",
    ReadBackFailed = "posts cannot be read back",
    HistoryFailed = "history refused",
    HistorySlow = "slow history",
    RemovalFailed = "removal failed",
    NoteDropped = "gateway event dropped",
    NoteTwice = "gateway event twice",
    NoteLate = "gateway event late",
    VisibleLate = "message visible late",
}

/// How likely each kind is. What is not named does not happen.
#[derive(Debug, Clone, Default)]
pub struct Weather(BTreeMap<Kind, f64>);

impl Weather {
    /// Bad weather: some kinds that strike calls, rarely or nearly always.
    pub fn bad(random: &mut StdRng) -> Self {
        let striking = &Kind::ALL[Kind::StageDied as usize..];
        let count = random.random_range(1..=8);
        let rates = (0..count).map(|_| {
            let kind = striking[random.random_range(0..striking.len())];
            let rate = match random.random_range(0..4) {
                0 => 0.05,
                1 => 0.2,
                2 => 0.5,
                _ => 0.95,
            };
            // An actor that dies at each call does nothing else.
            let rare = matches!(kind, Kind::StageDied | Kind::ListenerDied);
            (kind, if rare { rate * 0.2 } else { rate })
        });
        Self(rates.collect())
    }

    /// Nothing but these, always.
    pub fn always(kinds: &[Kind]) -> Self {
        Self(kinds.iter().map(|kind| (*kind, 1.0)).collect())
    }

    pub fn rate(&self, kind: Kind) -> f64 {
        self.0.get(&kind).copied().unwrap_or_default()
    }
}
