//! How many links may be outstanding: what the limits leave.

use std::time::Duration;

use crate::ids::Lane;

/// Reserved from each code's lifetime: relay, listener and exchange take that long when everything is slow. A code
/// that comes this long after its link's expiry is carried after all others, so that whatever else comes of the link is
/// carried by the link's end.
pub const WAY: Duration = Duration::from_secs(15);

/// The limits from which the gate computes its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRules {
    /// How many codes a message of each lane may carry, by lane number. Empty if no channel is used.
    pub packs: Vec<u8>,
    /// Direct intake takes callbacks too, so links are made although every lane is out.
    pub direct: bool,
    /// Messages that one channel accepts in any minute, and how many of them at once; `None` for no limit.
    pub webhook: Option<(u32, u32)>,
    /// Calls a second to the OAuth2 endpoints, of which each code needs two; `None` for no limit.
    pub oauth_per_second: Option<u32>,
    /// How long a code lives.
    pub code_lifetime: Duration,
    /// How much of the computed room is used, in thousandths: denials and reloads cost messages too.
    pub share_permille: u16,
    /// New links that one user may get in ten minutes.
    pub links_per_person: usize,
}

impl GateRules {
    /// No limit except the places of one user.
    pub fn unlimited(code_lifetime: Duration) -> Self {
        Self {
            packs: vec![1],
            direct: false,
            webhook: None,
            oauth_per_second: None,
            code_lifetime,
            share_permille: 1000,
            links_per_person: usize::MAX,
        }
    }

    /// Places of a lane: `pack x (burst + refill per second x (code_lifetime - 15 s)) x share`, at least one.
    pub fn lane_places(&self, lane: Lane) -> usize {
        let Some((per_minute, burst)) = self.webhook else {
            return usize::MAX;
        };
        let pack = self.packs.get(usize::from(lane.0)).copied().unwrap_or(1);
        let refilled = f64::from(per_minute.saturating_sub(burst)) / 60.0 * self.usable();
        self.shared(f64::from(pack) * (f64::from(burst) + refilled))
    }

    /// Places of all lanes together: `oauth per second / 2 x (code_lifetime - 15 s) x share`, at least one.
    pub fn all_places(&self) -> usize {
        let rate = self.oauth_per_second.map(|rate| f64::from(rate) / 2.0 * self.usable());
        rate.map_or(usize::MAX, |room| self.shared(room))
    }

    /// Places of some lanes together.
    pub(super) fn carried(&self, lanes: impl Iterator<Item = Lane>) -> usize {
        lanes.map(|lane| self.lane_places(lane)).fold(0, usize::saturating_add)
    }

    fn usable(&self) -> f64 {
        self.code_lifetime.saturating_sub(WAY).as_secs_f64()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and far below 2^52"
    )]
    fn shared(&self, room: f64) -> usize {
        ((room * f64::from(self.share_permille) / 1000.0) as usize).max(1)
    }
}
