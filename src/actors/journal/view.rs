//! What `debug` shows of the journal: never a secret, never content; a code by the first six digits of its hash.

use std::collections::{BTreeMap, HashMap};

use actix::{Handler, Message, ResponseFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Journal;
use super::message::JournalError;
use super::open_grants::OpenGrants;
use super::recent::RecentView;
use crate::grant::state::{DeliveryState, FailedCall, Invitation, Revocation};
use crate::grant::{ClosedGrant, Grant, Outcome, State};
use crate::ids::{GrantId, Lane, LinkId, UserId};
use crate::metrics;
use crate::time::{Timestamp, rfc3339};

/// One grant as `debug queue list --json` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GrantView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: GrantId,
    /// The link it came by: the `id` that `POST /v1/links` answered; unknown once it is closed.
    #[serde(default)]
    pub link: Option<String>,
    /// `received`, `exchanging`, `exchanged`, `settling` or `closed`.
    pub state: String,
    /// Known once it is settling.
    pub outcome: Option<String>,
    /// Why; on all but `completed`.
    pub reason: Option<String>,
    /// Who it belongs to.
    #[schemars(with = "Option<String>")]
    pub person: Option<UserId>,
    /// The lane it came through.
    #[schemars(with = "u8")]
    pub lane: Lane,
    /// The first six hexadecimal digits of the code's hash.
    pub code_hash: Option<String>,
    /// When it was journalled.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub received_at: Timestamp,
    /// When its code expires, by Discord's clock.
    pub deadline: Option<String>,
    /// Presentations of the code, or failed attempts at what is owed.
    pub attempts: u32,
    /// By sink: `owed`, `parked`, `done` or `gave_up`.
    pub deliveries: BTreeMap<String, String>,
    /// `not_needed`, `owed` or `done`.
    pub revocation: Option<String>,
    /// `not_needed`, `owed`, `sent`, `closed` (their direct messages are), `no_room` or `failed`.
    #[serde(default)]
    pub invitation: Option<String>,
    /// When each call that is owed is made next: `exchange`, `fetch`, `deliver <sink>`, `revoke` or `invite`.
    #[serde(default)]
    pub next_attempts: BTreeMap<String, String>,
    /// The last calls that failed, the newest last.
    #[serde(default)]
    pub failed_calls: Vec<FailedView>,
}

/// A call that failed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FailedView {
    /// When it ended.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Which, by the names of `next_attempts`.
    pub call: String,
    /// The kind of failure, such as `connection_refused` or `http_401`.
    pub reason: String,
    /// The status, where an answer came.
    pub status: Option<u16>,
}

impl From<&FailedCall> for FailedView {
    fn from(failed: &FailedCall) -> Self {
        let status = failed.reason.strip_prefix("http_");
        Self {
            at: failed.at,
            call: failed.call.clone(),
            reason: failed.reason.clone(),
            status: status.and_then(|status| status.parse().ok()),
        }
    }
}

/// When each owed call of a grant is made next.
fn next_attempts(grant: &Grant) -> BTreeMap<String, String> {
    let mut next: Vec<(String, Timestamp)> = Vec::new();
    match &grant.state {
        State::Received { presentations, .. } => next.push(("exchange".to_owned(), presentations.not_before)),
        State::Exchanged { attempts, .. } => next.push(("fetch".to_owned(), attempts.not_before)),
        State::Settling(settling) => {
            let owed = settling
                .deliveries
                .iter()
                .filter(|(_, d)| d.state == DeliveryState::Owed);
            next.extend(owed.map(|(sink, d)| (format!("deliver {sink}"), d.attempts.not_before)));
            if let Revocation::Owed { attempts, .. } = &settling.revocation {
                next.push(("revoke".to_owned(), attempts.not_before));
            }
            if let Invitation::Owed(attempts) = &settling.invitation {
                next.push(("invite".to_owned(), attempts.not_before));
            }
        }
        State::Exchanging { .. } | State::Closed(_) => {}
    }
    let tried = next.into_iter().map(|(call, at)| (call, at.max(grant.received_at)));
    tried.map(|(call, at)| (call, at.to_string())).collect()
}

impl GrantView {
    /// The view of an open grant.
    pub fn of(grant: &Grant) -> Self {
        let mut view = Self {
            link: grant.requested.nonce.map(|nonce| LinkId(nonce).to_string()),
            person: grant.person,
            code_hash: grant.code_hash.map(crate::ids::CodeHash::short),
            deadline: Some(grant.deadline.to_string()),
            next_attempts: next_attempts(grant),
            failed_calls: grant.failed.iter().map(FailedView::from).collect(),
            ..Self::new(grant.id, grant.state.name(), grant.origin.lane, grant.received_at)
        };
        match &grant.state {
            State::Received { presentations, .. } | State::Exchanging { presentations, .. } => {
                view.attempts = presentations.count;
            }
            State::Exchanged {
                attempts, unauthorized, ..
            } => view.attempts = attempts.count + unauthorized,
            State::Settling(settling) => {
                view.outcome = Some(settling.outcome.name().to_owned());
                view.reason = settling.reason.as_ref().map(ToString::to_string);
                let owed = settling.deliveries.values().map(|d| d.attempts.count);
                let revoking = match &settling.revocation {
                    Revocation::Owed { attempts, .. } => attempts.count,
                    _ => 0,
                };
                view.attempts = owed.max().unwrap_or(0).max(revoking);
                view.deliveries = settling
                    .deliveries
                    .iter()
                    .map(|(n, d)| (n.clone(), delivery(d.state)))
                    .collect();
                let revocation = match settling.revocation {
                    Revocation::NotNeeded => "not_needed",
                    Revocation::Owed { .. } => "owed",
                    Revocation::Done => "done",
                };
                view.revocation = Some(revocation.to_owned());
                view.invitation = Some(settling.invitation.name().to_owned());
            }
            State::Closed(_) => {}
        }
        view
    }

    /// The view of a closed grant.
    pub fn of_closed(closed: &ClosedGrant) -> Self {
        Self {
            outcome: Some(closed.outcome.name().to_owned()),
            reason: closed.reason.as_ref().map(ToString::to_string),
            ..Self::new(closed.id, "closed", closed.lane, closed.received_at)
        }
    }

    fn new(id: GrantId, state: &str, lane: Lane, received_at: Timestamp) -> Self {
        Self {
            id,
            link: None,
            state: state.to_owned(),
            outcome: None,
            reason: None,
            person: None,
            lane,
            code_hash: None,
            received_at,
            deadline: None,
            attempts: 0,
            deliveries: BTreeMap::new(),
            revocation: None,
            invitation: None,
            next_attempts: BTreeMap::new(),
            failed_calls: Vec::new(),
        }
    }
}

fn delivery(state: DeliveryState) -> String {
    match state {
        DeliveryState::Owed => "owed",
        DeliveryState::Parked => "parked",
        DeliveryState::Done => "done",
        DeliveryState::GaveUp => "gave_up",
    }
    .to_owned()
}

/// Which grants to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Filter {
    /// At most this many; 0 for all.
    pub limit: usize,
    /// Only grants in this state.
    pub state: Option<String>,
    /// Only grants with a parked delivery.
    pub parked: bool,
}

/// A page of grants.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// How many match.
    pub total: usize,
    /// The first of them.
    pub grants: Vec<GrantView>,
}

impl Listing {
    /// The open grants that match, those with the nearest deadline first.
    pub fn of<'a>(grants: impl Iterator<Item = &'a Grant>, filter: &Filter) -> Self {
        let mut matching: Vec<&Grant> = grants.filter(|grant| filter.matches(grant)).collect();
        matching.sort_unstable_by_key(|grant| (grant.deadline, grant.id));
        Self {
            total: matching.len(),
            grants: matching.into_iter().take(filter.most()).map(GrantView::of).collect(),
        }
    }

    /// Closed grants, the last closed first, of so many in all.
    pub fn of_closed(closed: &[ClosedGrant], total: u64) -> Self {
        Self {
            total: usize::try_from(total).unwrap_or(usize::MAX),
            grants: closed.iter().map(GrantView::of_closed).collect(),
        }
    }
}

impl Filter {
    /// How many to list at the most.
    pub fn most(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit }
    }

    /// Whether an open grant is meant.
    pub fn matches(&self, grant: &Grant) -> bool {
        self.state.as_ref().is_none_or(|s| s == grant.state.name()) && (!self.parked || is_parked(grant))
    }
}

/// Whether any of its deliveries is parked.
fn is_parked(grant: &Grant) -> bool {
    match &grant.state {
        State::Settling(settling) => settling.deliveries.values().any(|d| d.state == DeliveryState::Parked),
        _ => false,
    }
}

/// Counts for `debug queue stats`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// Open grants by state.
    pub open: BTreeMap<String, usize>,
    /// Open grants with a parked delivery.
    pub parked: usize,
    /// Tokens that are held.
    pub tokens_held: usize,
    /// Source messages whose removal is not settled.
    pub source_messages: usize,
    /// Links that are outstanding: their code or denial has not arrived.
    pub links: usize,
    /// Closed grants within `journal.closed_retention`, by outcome.
    pub closed: BTreeMap<String, u64>,
    /// Closed since the service started, by outcome; absent on a stopped store.
    pub since_start: Option<BTreeMap<String, u64>>,
    /// Messages and redirects read since the service started, by what became of them: `accepted`, `duplicate`,
    /// `malformed`, `foreign` (a spoof, or talk); absent on a stopped store.
    pub messages: Option<BTreeMap<String, u64>>,
    /// Callbacks that direct intake met since the service started, by what became of them; absent where there is none.
    pub callbacks: Option<BTreeMap<String, u64>>,
    /// What has happened since the service started; absent on a stopped store.
    pub recent: Option<RecentView>,
    /// When the oldest open grant was received.
    pub oldest_open: Option<String>,
    /// Bytes on disk.
    pub store_bytes: u64,
}

impl Stats {
    /// The counts over open grants; the rest is the caller's to fill in.
    pub fn over<'a>(grants: impl Iterator<Item = &'a Grant>) -> Self {
        let mut stats = Self::default();
        let mut oldest: Option<Timestamp> = None;
        for grant in grants {
            *stats.open.entry(grant.state.name().to_owned()).or_default() += 1;
            stats.tokens_held += usize::from(grant.holds_token());
            stats.parked += usize::from(is_parked(grant));
            oldest = Some(oldest.map_or(grant.received_at, |o| o.min(grant.received_at)));
        }
        stats.oldest_open = oldest.map(|o| o.to_string());
        stats
    }

    /// Fills in outcomes by name.
    pub fn by_name(outcomes: &HashMap<Outcome, u64>) -> BTreeMap<String, u64> {
        outcomes
            .iter()
            .map(|(outcome, n)| (outcome.name().to_owned(), *n))
            .collect()
    }
}

/// Asks for a page of open grants.
#[derive(Message)]
#[rtype(result = "Listing")]
pub struct List(pub Filter);

/// Asks for one grant, open or closed.
#[derive(Message)]
#[rtype(result = "Result<Option<GrantView>, JournalError>")]
pub struct Show(pub GrantId);

/// Asks for the counts, and brings the metrics of open grants up to date.
#[derive(Message)]
#[rtype(result = "Result<Stats, JournalError>")]
pub struct CountAll;

impl Handler<List> for Journal {
    type Result = actix::MessageResult<List>;

    fn handle(&mut self, List(filter): List, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(Listing::of(self.open_grants.open(), &filter))
    }
}

impl Handler<Show> for Journal {
    type Result = ResponseFuture<Result<Option<GrantView>, JournalError>>;

    fn handle(&mut self, Show(id): Show, _: &mut Self::Context) -> Self::Result {
        self.leave();
        if let Some(grant) = self.open_grants.get(id) {
            let view = GrantView::of(grant);
            return Box::pin(async move { Ok(Some(view)) });
        }
        let store = self.settings.store.clone();
        Box::pin(async move {
            let closed = store.closed(id).await.map_err(JournalError::Store)?;
            Ok(closed.as_ref().map(GrantView::of_closed))
        })
    }
}

impl Handler<CountAll> for Journal {
    type Result = ResponseFuture<Result<Stats, JournalError>>;

    fn handle(&mut self, _: CountAll, _: &mut Self::Context) -> Self::Result {
        // Memory may be ahead of the store by what waits for the next commit; the counts are of one moment.
        self.leave();
        let mut stats = Stats::over(self.open_grants.open());
        stats.source_messages = OpenGrants::source_messages(&self.open_grants);
        stats.since_start = Some(Stats::by_name(&self.outcomes));
        stats.messages = Some(metrics::messages_read().map(|(name, n)| (name.to_owned(), n)).collect());
        metrics::links_outstanding(self.open_grants.links());
        stats.links = self.open_grants.links();
        stats.recent = Some(self.recent.view(&self.open_grants, self.now()));
        for state in State::OPEN {
            metrics::open_grants(state, stats.open.get(state).copied().unwrap_or(0));
        }
        let store = self.settings.store.clone();
        Box::pin(async move {
            let closed = store.closed_totals().await.map_err(JournalError::Store)?;
            stats.closed = closed.iter().map(|(o, n)| (o.name().to_owned(), n)).collect();
            stats.store_bytes = store.size().await.map_err(JournalError::Store)?;
            Ok(stats)
        })
    }
}
