//! What the relay has done since its start: only numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters and gauges that the front and the dispatcher share.
        #[derive(Debug, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: Count,)*
        }

        impl Counts {
            /// All of them as one object.
            pub fn json(&self) -> Value {
                json!({ $(stringify!($name): self.$name.get(),)* })
            }
        }
    };
}

counts! {
    /// Callbacks that were journalled, codes and errors.
    accepted,
    /// Callbacks that were known already.
    repeated,
    /// Callbacks with an error instead of a code, among the accepted.
    denied,
    /// Callbacks with a good state that could not be carried in time.
    busy,
    /// Callbacks with a state that was too old.
    expired_links,
    /// Signed callbacks that were refused for another reason.
    refused,
    /// Unsigned requests.
    unsigned,
    /// Unsigned requests from an address with too many of them.
    limited,
    /// Messages posted.
    messages,
    /// Codes posted.
    posted,
    /// Posts whose outcome is not known, or that Discord did not take now.
    posts_failed,
    /// Answers of 429.
    rate_limited,
    /// Codes that died before they could be posted.
    expired,
    /// Codes that Discord would not take in any message.
    given_up,
    /// Denials and expiry notices that could not be posted within ten minutes.
    untold,
    /// Lines that wait to be posted.
    waiting,
    /// Lanes whose webhook does not work now.
    lanes_out,
}

impl Counts {
    /// What a front has made of the callbacks, by name. `denied` are among the `accepted`, `limited` among the `unsigned`.
    pub fn callbacks(&self) -> [(&'static str, u64); 8] {
        [
            ("accepted", self.accepted.get()),
            ("repeated", self.repeated.get()),
            ("denied", self.denied.get()),
            ("busy", self.busy.get()),
            ("expired_links", self.expired_links.get()),
            ("refused", self.refused.get()),
            ("unsigned", self.unsigned.get()),
            ("limited", self.limited.get()),
        ]
    }
}

/// One number.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.add_many(1);
    }

    /// So many more.
    pub fn add_many(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// It is so much now.
    pub fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }

    /// How much it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
