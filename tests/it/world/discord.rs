//! What the world's Discord and the sinks know: codes, tokens, messages, posts, results. Every effect of a call happens
//! here, is judged here against what is durable, and goes into the trace.

mod judge;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use codeferry::grant::State;
use codeferry::ids::{ChannelId, CodeHash, GrantId, MessageId, UserId, WebhookId, snowflake_at};
use codeferry::intake::hash::code_hash;
use codeferry::intake::pkce;
use codeferry::port::discord::ChannelMessage;
use codeferry::secret::{AuthorizationCode, CodeVerifier, Key};
use codeferry::time::{Clock, SteadyClock, Timestamp};
use rand::RngExt;
use rand::rngs::StdRng;

use super::faults::{Kind, Weather};
use super::watched::Shared;

/// The key of everything.
pub const KEY: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
/// How long Discord honours a code.
const CODE_LIFETIME: Duration = Duration::from_secs(100);
/// A token that was handed over is stored or revoked within this.
const STORED_WITHIN: Duration = Duration::from_secs(8);

/// One authorization code.
pub struct Code {
    pub user: UserId,
    pub state: String,
    pub pkce: bool,
    pub issued_at: Timestamp,
    /// When the message that brought it first was posted.
    pub posted_at: Timestamp,
    pub hash: CodeHash,
    /// It came through a lane's own webhook, so it must get an outcome.
    pub authentic: bool,
    pub consumed: bool,
    pub presented: u32,
    /// An answer to a presentation did not tell, or never came.
    pub unclear: bool,
}

/// One token.
pub struct Issued {
    pub user: UserId,
    pub code: String,
    pub alive: bool,
    /// When the whole answer was handed to a process that lived.
    pub handed_at: Option<Timestamp>,
}

/// One message in a channel.
#[derive(Clone)]
pub struct Posted {
    pub message: ChannelMessage,
    pub visible_at: Timestamp,
}

/// A call that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Exchange {
        code: String,
        person: Option<UserId>,
    },
    Revoke {
        person: Option<UserId>,
    },
    /// The revocation of a token that no grant holds.
    Abandon,
    Fetch,
    Deliver,
    Invite,
}

/// See the file's head.
pub struct Discord {
    pub random: StdRng,
    clock: Option<Arc<SteadyClock>>,
    frozen_at: Timestamp,
    pub weather: Weather,
    pub view: Shared,
    pub codes: BTreeMap<String, Code>,
    pub tokens: BTreeMap<String, Issued>,
    pub channels: BTreeMap<ChannelId, BTreeMap<u64, Posted>>,
    /// Lines of authentic messages that carry a denial: each must get an outcome.
    pub denials: BTreeSet<(MessageId, u16)>,
    pub on_the_wire: BTreeMap<u64, Call>,
    next_call: u64,
    /// How often each sink has each result.
    pub results: BTreeMap<(&'static str, GrantId), u32>,
    /// Direct messages as people see them: one for each mark.
    pub direct: BTreeSet<(UserId, String)>,
    posts: VecDeque<Timestamp>,
    paced: VecDeque<Timestamp>,
    /// The disk held calls up that had their permits.
    held_up_until: Timestamp,
    pub tried: BTreeMap<Kind, u64>,
    pub broken: Vec<String>,
    /// From a code's message to its first presentation.
    pub longest_wait: Duration,
    trace: DefaultHasher,
    next_id: u64,
}

impl Discord {
    pub fn new(random: StdRng, at: Timestamp) -> Self {
        Self {
            random,
            clock: None,
            frozen_at: at,
            weather: Weather::default(),
            view: Shared::default(),
            codes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            channels: BTreeMap::new(),
            denials: BTreeSet::new(),
            on_the_wire: BTreeMap::new(),
            next_call: 0,
            results: BTreeMap::new(),
            direct: BTreeSet::new(),
            posts: VecDeque::new(),
            paced: VecDeque::new(),
            held_up_until: at,
            tried: BTreeMap::new(),
            broken: Vec::new(),
            longest_wait: Duration::ZERO,
            trace: DefaultHasher::new(),
            next_id: 0,
        }
    }

    /// Discord's own clock, which nobody steps. While no process runs it stands where it was put.
    pub fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or(self.frozen_at, |clock| clock.now())
    }

    pub fn follow(&mut self, clock: Arc<SteadyClock>) {
        self.clock = Some(clock);
    }

    pub fn stand_still_at(&mut self, at: Timestamp) {
        self.clock = None;
        self.frozen_at = at;
    }

    /// What happened, for the log and for the comparison of two runs.
    pub fn note(&mut self, what: impl AsRef<str>) {
        let (at, what) = (self.now(), what.as_ref());
        (at.as_millis(), what).hash(&mut self.trace);
        tracing::info!(target: "world", "{at} {what}");
    }

    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// A promise that does not hold.
    pub fn breaks(&mut self, promise: impl Into<String>) {
        let broken = format!("{}: {}", self.now(), promise.into());
        self.note(format!("BROKEN {broken}"));
        self.broken.push(broken);
    }

    /// Whether a fault strikes now.
    pub fn strikes(&mut self, kind: Kind) -> bool {
        let rate = self.weather.rate(kind);
        let struck = rate > 0.0 && self.random.random_bool(rate);
        if struck {
            self.tally(kind);
        }
        struck
    }

    pub fn tally(&mut self, kind: Kind) {
        *self.tried.entry(kind).or_default() += 1;
    }

    pub fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.random_range(least_ms..=most_ms))
    }

    /// How long the disk takes for a commit.
    pub fn commit_takes(&mut self) -> Duration {
        if self.strikes(Kind::CommitSlow) {
            self.held_up_until = self.now() + Duration::from_secs(2);
            self.between(50, 500)
        } else {
            self.between(1, 5)
        }
    }

    fn next(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A person approves: a code for this state.
    pub fn approve(&mut self, user: UserId, state: String, pkce: bool, issued_at: Timestamp) -> String {
        let n = self.next();
        let code = format!("code-{n:012}");
        let hash = code_hash(&Key::new(KEY), &AuthorizationCode::new(code.as_str()));
        self.codes.insert(
            code.clone(),
            Code {
                user,
                state,
                pkce,
                issued_at,
                posted_at: issued_at,
                hash,
                authentic: false,
                consumed: false,
                presented: 0,
                unclear: false,
            },
        );
        code
    }

    /// Somebody makes up a code of so many letters for a link of theirs; Discord refuses it.
    pub fn make_up(&mut self, user: UserId, state: String, letters: usize) -> String {
        let issued = self.approve(user, state, true, Timestamp::from_secs(0));
        let mut known = self.codes.remove(&issued).expect("it was issued just now");
        let code = format!("{issued:x<letters$}");
        known.hash = code_hash(&Key::new(KEY), &AuthorizationCode::new(code.as_str()));
        self.codes.insert(code.clone(), known);
        code
    }

    /// A message appears in a channel.
    pub fn post(&mut self, channel: ChannelId, webhook: WebhookId, content: String, at: Timestamp) -> ChannelMessage {
        let n = self.next();
        let id = MessageId(snowflake_at(at) + n % 4096);
        let late = self.strikes(Kind::VisibleLate);
        let visible_at = at
            + if late {
                self.between(1_000, 20_000)
            } else {
                Duration::ZERO
            };
        let message = ChannelMessage {
            id,
            channel,
            webhook: Some(webhook),
            content,
        };
        let posted = Posted {
            message: message.clone(),
            visible_at,
        };
        self.channels.entry(channel).or_default().insert(id.0, posted);
        self.note(format!("message {id} in {channel}"));
        message
    }

    /// A call leaves the service.
    pub fn begin(&mut self, call: Call) -> u64 {
        match &call {
            Call::Exchange { code, person } => {
                let on_the_wire = self.on_the_wire.values();
                let (mut same, mut revoking) = (false, false);
                for other in on_the_wire {
                    same |= matches!(other, Call::Exchange { code: c, .. } if c == code);
                    revoking |= person.is_some() && matches!(other, Call::Revoke { person: p } if p == person);
                }
                if same {
                    self.breaks(format!("{code} is presented while it is being presented"));
                }
                if revoking {
                    self.breaks(format!(
                        "{code} is presented while a token of that person is being revoked"
                    ));
                }
            }
            Call::Revoke { person: Some(person) } => {
                let person = *person;
                // A token that the process has and that is somebody else's is not killed by this person's revocation, whoever
                // the disk still takes its owner for.
                let handed = |code: &str| self.tokens.values().find(|t| t.code == code && t.handed_at.is_some());
                let in_use = |state: &State| match state {
                    State::Exchanging { code, .. } => handed(code.expose()).is_none_or(|t| t.user == person),
                    State::Exchanged { token, .. } => {
                        let token = self.tokens.get(token.access.expose());
                        token.is_none_or(|t| t.user == person)
                    }
                    _ => false,
                };
                let held_up = self
                    .view
                    .with(|view| view.of_person(person).find(|g| in_use(&g.state)).map(|g| g.id));
                if let Some(id) = held_up {
                    self.breaks(format!(
                        "a token of {person} is revoked while grant {id} is exchanged or fetched"
                    ));
                }
            }
            Call::Revoke { person: None } | Call::Abandon | Call::Fetch | Call::Deliver | Call::Invite => {}
        }
        // A token that could not be stored is revoked at once, and refused credentials are probed: without a permit.
        if !matches!(call, Call::Fetch | Call::Deliver | Call::Invite | Call::Abandon) {
            self.pace();
        }
        self.next_call += 1;
        self.on_the_wire.insert(self.next_call, call);
        self.next_call
    }

    /// `oauth`: 10 a second and 10 at once. So no second holds more than 20, and no process begins with a burst.
    fn pace(&mut self) {
        let now = self.now();
        self.paced.push_back(now);
        while self
            .paced
            .front()
            .is_some_and(|at| now.since(*at) >= Duration::from_secs(1))
        {
            self.paced.pop_front();
        }
        // One more: the governor's clock is finer than a millisecond. A slow disk holds calls up that have their permits, for
        // two commits at most, and then they go together.
        let held_up = if now < self.held_up_until { 10 } else { 0 };
        if self.paced.len() > 21 + held_up {
            self.breaks(format!("{} OAuth2 calls within a second", self.paced.len()));
        }
    }

    /// Judges a presentation before it leaves. The person that the service knows of.
    pub fn judge_presentation(&mut self, code: &str, verifier: Option<&CodeVerifier>) -> Option<UserId> {
        let Some(known) = self.codes.get(code) else {
            self.breaks("a code that was never issued is presented");
            return None;
        };
        let wanted = known.pkce.then(|| pkce::verifier(&Key::new(KEY), &known.state));
        let (hash, authentic) = (known.hash, known.authentic);
        if verifier.map(CodeVerifier::expose) != wanted.as_ref().map(CodeVerifier::expose) {
            self.breaks(format!("{code} is presented with a wrong verifier"));
        }
        if !authentic {
            self.breaks(format!("{code} came from a stranger and is presented"));
        }
        let (received, intent, person) = self.view.with(|view| {
            let intent = view.holds_intent(code);
            (
                view.received.contains(&hash),
                intent.is_some(),
                intent.and_then(|g| g.person),
            )
        });
        if received {
            self.breaks(format!("TWICE {code} is presented after its token was received"));
        }
        if !intent {
            self.breaks(format!("{code} is presented without a durable intent"));
        }
        person
    }

    /// A code arrives at the token endpoint: a token, or `invalid_grant`.
    pub fn present(&mut self, code: &str) -> Option<String> {
        let now = self.now();
        let n = self.next();
        let known = self.codes.get_mut(code)?;
        if known.presented == 0 {
            self.longest_wait = self.longest_wait.max(now.since(known.posted_at));
        }
        known.presented += 1;
        if known.consumed || now >= known.issued_at + CODE_LIFETIME {
            self.note(format!("{code} is refused"));
            return None;
        }
        known.consumed = true;
        let token = format!("token-{n:012}");
        let issued = Issued {
            user: known.user,
            code: code.to_owned(),
            alive: true,
            handed_at: None,
        };
        self.tokens.insert(token.clone(), issued);
        self.note(format!("{code} gives {token}"));
        Some(token)
    }

    /// An answer with a token is handed to the service.
    pub fn hand_over(&mut self, token: &str) {
        let now = self.now();
        if let Some(issued) = self.tokens.get_mut(token) {
            issued.handed_at = Some(now);
        }
    }

    /// A revocation arrives: that of a live token kills every token of that person, that of a dead one nothing.
    pub fn revoke(&mut self, token: &str) {
        let Some(user) = self.tokens.get(token).filter(|t| t.alive).map(|t| t.user) else {
            self.note(format!("{token} is revoked, and was dead"));
            return;
        };
        let theirs: Vec<String> = self
            .tokens
            .iter()
            .filter(|(_, t)| t.user == user && t.alive)
            .map(|(name, _)| name.clone())
            .collect();
        let of_a_grant = self.view.with(|view| view.holder(token).is_some());
        for name in theirs {
            let cut = self.view.with(|view| {
                let holder = view.holder(&name).filter(|(_, fetching)| *fetching);
                holder.filter(|(g, _)| g.person == Some(user)).map(|(g, _)| g.id)
            });
            if let Some(id) = cut.filter(|_| of_a_grant) {
                self.breaks(format!(
                    "the fetch of grant {id} is cut off by a revocation of the same person"
                ));
            }
            if let Some(issued) = self.tokens.get_mut(&name) {
                issued.alive = false;
            }
        }
        self.note(format!("{token} is revoked, and every token of {user}"));
    }
}
