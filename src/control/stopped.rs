//! The same answers from the store of a service that does not run.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Ask, LinkRequest, Refusal, verified};
use crate::actors::journal::view::{GrantView, Listing, Stats};
use crate::config::Config;
use crate::grant::{Event, Grant, Policy, State};
use crate::ids::GrantId;
use crate::intake::gate::{Gate, Minted};
use crate::intake::mint::{Link, Minter, Wanted};
use crate::port::contact::NoLink;
use crate::rate::budgets::BudgetView;
use crate::service::settings;
use crate::store::{self, Change, Loaded, OpenError, Store, StoreError, StoreOptions};
use crate::time::{SharedClock, Timestamp};

/// An opened store and what it held.
pub struct StoppedStore<'a> {
    store: Box<dyn Store>,
    loaded: Box<Loaded>,
    config: &'a Config,
    now: Timestamp,
}

impl<'a> StoppedStore<'a> {
    /// Opens it, holding its lock.
    pub fn open(config: &'a Config, clock: SharedClock) -> Result<Self, OpenError> {
        let now = clock.now();
        let opened = store::open(&StoreOptions {
            cache_mb: config.journal.cache_mb,
            ..StoreOptions::new(&config.journal.path, clock)
        })?;
        Ok(Self {
            store: opened.store,
            loaded: Box::new(opened.loaded),
            config,
            now,
        })
    }

    /// Ends it cleanly.
    pub fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }

    /// Answers.
    pub fn ask(&mut self, ask: &Ask) -> Result<Value, Refusal> {
        match ask {
            Ask::List(filter) if filter.state.as_deref() == Some("closed") => {
                let closed = self.store.newest_closed(filter.most())?;
                Ok(json!(Listing::of_closed(&closed, self.loaded.closed)))
            }
            Ask::List(filter) => Ok(json!(Listing::of(self.loaded.grants.iter(), filter))),
            Ask::Show(id) => match self.find(*id) {
                Some(grant) => Ok(json!(GrantView::of(grant))),
                None => {
                    let closed = self.store.closed(*id)?;
                    closed
                        .map(|c| json!(GrantView::of_closed(&c)))
                        .ok_or_else(|| Refusal::no_such_grant(*id))
                }
            },
            Ask::Stats => {
                let mut stats = Stats::over(self.loaded.grants.iter());
                stats.source_messages = self.loaded.source_messages.len();
                stats.links = self.loaded.places.len();
                let closed = self.store.closed_totals()?;
                stats.closed = closed.iter().map(|(o, n)| (o.name().to_owned(), n)).collect();
                stats.store_bytes = self.store.size_bytes();
                Ok(json!(stats))
            }
            Ask::Requeue { id, sink } => self.operate(*id, Event::Requeued { sink: sink.clone() }),
            Ask::Drop(id) => self.operate(*id, Event::Dropped),
            Ask::Budget => Ok(json!(self.budgets())),
            Ask::Link(_) => Err(Refusal::new(500, "a link needs its keys")),
            Ask::Verify => Ok(verified(&self.store.verify()?)),
        }
    }

    /// A link, and the place it holds.
    pub fn link(&mut self, minter: &Minter, request: &LinkRequest, nonce: [u8; 8]) -> Result<Link, Refusal> {
        let wanted = Wanted {
            user: request.user_id,
            purpose: request.purpose_index(&self.config.state.purposes)?,
            again: false,
        };
        let loaded = &self.loaded;
        let (places, accounts) = (loaded.places.iter().copied(), loaded.accounts.iter().cloned());
        let mut gate = Gate::new(settings::gate(self.config), places, accounts);
        let minted = gate.mint(minter, wanted, self.now, nonce);
        let changes: Vec<_> = gate.take_changes().into_iter().map(Change::Gate).collect();
        self.store.commit(&changes)?;
        match minted {
            Minted::New(link) | Minted::Again(link) => Ok(link),
            Minted::Later { after } => Err(NoLink::Later(after).into()),
        }
    }

    fn find(&self, id: GrantId) -> Option<&Grant> {
        self.loaded.grants.iter().find(|g| g.id == id)
    }

    fn operate(&mut self, id: GrantId, event: Event) -> Result<Value, Refusal> {
        let policy = Policy {
            code_lifetime: self.config.intake.code_lifetime,
            sinks: self.config.delivery.iter().map(|s| s.name.clone()).collect(),
            keep_parked: self.config.journal.keep_parked,
            reinvite: self.config.reinvite.enabled,
        };
        let Some(grant) = self.find(id) else {
            let closed = self.store.closed(id)?;
            return Err(closed.map_or_else(|| Refusal::no_such_grant(id), |_| Refusal::closed(id)));
        };
        let next = grant
            .apply(event.clone(), policy.at(self.now))
            .map_err(|_| Refusal::impossible(&event, &GrantView::of(grant)))?;
        let (change, view) = match &next.state {
            State::Closed(closed) => (Change::Close(closed.clone()), GrantView::of_closed(closed)),
            _ => (Change::PutGrant(Arc::new(next.clone())), GrantView::of(&next)),
        };
        let mut changes = vec![change];
        if !grant.is_spent() && next.is_spent() {
            let source_message = self.loaded.source_messages.iter_mut();
            if let Some(source_message) = source_message.into_iter().find(|c| c.message == next.origin.message) {
                source_message.unspent = source_message.unspent.saturating_sub(1);
                changes.push(Change::PutSourceMessage(source_message.clone()));
            }
        }
        self.store.commit(&changes)?;
        self.loaded.grants.retain(|g| g.id != id);
        if !matches!(next.state, State::Closed(_)) {
            self.loaded.grants.push(next);
        }
        Ok(json!(view))
    }

    /// What the next start will count as spent.
    fn budgets(&self) -> Vec<BudgetView> {
        let minute_ago = self.now - Duration::from_mins(1);
        let spending = self.loaded.spending.iter().map(|(channel, sent)| {
            let lane = self
                .config
                .intake
                .lanes
                .iter()
                .find(|l| l.channel_id == *channel)
                .map(|l| l.lane);
            let recent: Vec<_> = sent.iter().filter(|at| **at > minute_ago).collect();
            let limit = self.config.limits.webhook.map(|w| w.per_minute);
            let full = limit.is_some_and(|limit| recent.len() >= limit as usize);
            BudgetView {
                budget: "webhook",
                lane,
                channel: Some(*channel),
                spent: recent.len() as u32,
                limit,
                free_at: recent.first().filter(|_| full).map(|at| **at + Duration::from_mins(1)),
                blocked_until: None,
            }
        });
        spending.collect()
    }
}
