//! The budgets as people see them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::Budgets;
use crate::ids::{ChannelId, Lane};
use crate::rate::limits::{Budget, Need, Urgency};
use crate::rate::moment::Moment;
use crate::time::{Timestamp, optional_rfc3339};

/// One budget as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BudgetView {
    /// `webhook`, `global`, `oauth` or `invalid_requests`.
    pub budget: &'static str,
    /// The lane, where the budget is that of a lane's channel.
    #[schemars(with = "Option<u8>")]
    pub lane: Option<Lane>,
    /// The channel of a `webhook` budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub channel: Option<ChannelId>,
    /// Spent in the last minute (`webhook`), second (`global`, `oauth`) or ten minutes (`invalid_requests`).
    pub spent: u32,
    /// The most that may be; `None` where the limit is off.
    pub limit: Option<u32>,
    /// When there is a slot again; `None` where there is one now.
    #[serde(serialize_with = "optional_rfc3339")]
    #[schemars(with = "Option<String>")]
    pub free_at: Option<Timestamp>,
    /// Closed by Discord's answers until then.
    #[serde(serialize_with = "optional_rfc3339")]
    #[schemars(with = "Option<String>")]
    pub blocked_until: Option<Timestamp>,
}

impl Budgets {
    /// Every budget, the lanes' channels first. `wall` is the wall clock at `now`.
    pub fn views(&mut self, lanes: &BTreeMap<ChannelId, Lane>, now: Moment, wall: Timestamp) -> Vec<BudgetView> {
        let told = |at: Moment| wall + at.since(now);
        let mut channels: Vec<ChannelId> = lanes.keys().chain(self.channels.keys()).copied().collect();
        channels.sort_unstable_by_key(|channel| (lanes.get(channel).map_or(u8::MAX, |lane| lane.0), *channel));
        channels.dedup();
        let any = Urgency::Deliver;
        let mut views = Vec::with_capacity(channels.len() + 3);
        for channel in channels {
            let lane = lanes.get(&channel).copied();
            let blocked = self.closed_for(
                Need {
                    budget: Budget::Webhook(channel),
                    urgency: any,
                },
                now,
            );
            let limit = self.limits.webhook;
            let kept = self.channels.get_mut(&channel);
            let (spent, free_at) = kept.map_or((0, None), |c| (c.window.count(now), c.free(limit, now).err()));
            views.push(BudgetView {
                budget: "webhook",
                lane,
                channel: Some(channel),
                spent,
                limit: limit.map(|l| l.per_minute),
                free_at: free_at.map(told),
                blocked_until: blocked.map(told),
            });
        }
        for (name, budget) in [("global", Budget::Global), ("oauth", Budget::OAuth)] {
            let need = Need { budget, urgency: any };
            let blocked = self.closed_for(need, now);
            let rate = match budget {
                Budget::OAuth => &mut self.oauth,
                Budget::Global | Budget::Webhook(_) => &mut self.global,
            };
            let (spent, free_at) = rate
                .as_mut()
                .map_or((0, None), |r| (r.spent(now), r.bucket.look(now).err()));
            views.push(BudgetView {
                budget: name,
                lane: None,
                channel: None,
                spent,
                limit: rate.as_ref().map(|r| r.limit.per_second),
                free_at: free_at.map(told),
                blocked_until: blocked.map(told),
            });
        }
        views.push(BudgetView {
            budget: "invalid_requests",
            lane: None,
            channel: None,
            spent: self.breaker.count(now),
            limit: Some(self.limits.invalid_requests).filter(|&n| n > 0),
            free_at: None,
            blocked_until: self.breaker.open_until(now).map(told),
        });
        views
    }
}
