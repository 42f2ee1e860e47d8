//! What people, the operator and the machine do in one run: made from the seed before it begins.

use std::time::Duration;

use codeferry::ids::{ChannelId, Lane, UserId, WebhookId};
use codeferry::intake::state::{StateKey, StateToken};
use codeferry::intake::v1::{self, Redirect};
use codeferry::port::discord::ChannelMessage;
use codeferry::secret::Key;
use codeferry::time::Timestamp;
use rand::RngExt;
use rand::rngs::StdRng;

use super::discord::{Discord, KEY};
use super::faults::Weather;
use super::places::BOT;
use super::watched::AtCommit;

/// How long people click.
pub const LENGTH: Duration = Duration::from_mins(10);
/// The lanes.
pub const LANES: [(ChannelId, WebhookId); 2] = [
    (
        ChannelId(1_536_000_000_000_000_011),
        WebhookId(1_536_000_000_000_000_012),
    ),
    (
        ChannelId(1_536_000_000_000_000_013),
        WebhookId(1_536_000_000_000_000_014),
    ),
];

/// Something that happens at a moment.
#[derive(Debug, Clone)]
pub enum Act {
    Post(Post),
    Weather(Weather),
    /// The wall clock is stepped by so many seconds.
    Step(i64),
    Kill {
        down: Duration,
    },
    AtCommit {
        commits: u64,
        what: AtCommit,
        down: Duration,
    },
    Drain {
        down: Duration,
    },
}

/// What is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// Somebody approves.
    Approval(UserId),
    /// One message with several approvals, each of another person.
    Packed(UserId, u64),
    /// Two codes of one consent.
    DoubleClick(UserId),
    /// The relay was slow: the code is dead, or nearly.
    Late(UserId),
    /// Somebody else approves the link.
    WrongPerson(UserId, UserId),
    Denial(UserId),
    /// The relay posts an earlier message's redirects again.
    Again,
    /// A stranger's webhook, with a code of its own.
    Spoof(UserId),
    Rubbish,
}

pub fn person(n: u64) -> UserId {
    UserId(80_000_000_000_000_001 + n)
}

/// A whole run's events, in the order of their moments.
pub fn script(random: &mut StdRng) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    let mut at = Duration::from_secs(1);
    let people = random.random_range(3..=20);
    let pace = random.random_range(5_000..=18_000);
    while at < LENGTH {
        let burst = if random.random_bool(0.03) {
            random.random_range(5..=30)
        } else {
            1
        };
        for n in 0..burst {
            let who = if burst > 1 {
                person(1_000 + n)
            } else {
                person(random.random_range(0..people))
            };
            acts.push((at, Act::Post(post(random, who))));
        }
        at += Duration::from_millis(random.random_range(1..=2 * pace));
    }
    let mut at = Duration::ZERO;
    while at < LENGTH {
        let weather = if random.random_bool(0.4) {
            Weather::default()
        } else {
            Weather::bad(random)
        };
        acts.push((at, Act::Weather(weather)));
        at += Duration::from_secs(random.random_range(10..=120));
    }
    let mut moments = |random: &mut StdRng, most: u64, make: &mut dyn FnMut(&mut StdRng) -> Act| {
        for _ in 0..random.random_range(0..=most) {
            let at = Duration::from_millis(random.random_range(0..LENGTH.as_millis() as u64));
            acts.push((at, make(random)));
        }
    };
    let down = |random: &mut StdRng| Duration::from_millis(random.random_range(100..=20_000));
    moments(random, 2, &mut |random| Act::Kill { down: down(random) });
    moments(random, 3, &mut |random| Act::AtCommit {
        commits: random.random_range(1..=60),
        what: [AtCommit::KillBefore, AtCommit::KillAfter, AtCommit::Full][random.random_range(0..3)],
        down: down(random),
    });
    moments(random, 2, &mut |random| Act::Drain { down: down(random) });
    if random.random_bool(0.35) {
        moments(random, 2, &mut |random| {
            Act::Step(if random.random() { 3_600 } else { -3_600 })
        });
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

fn post(random: &mut StdRng, who: UserId) -> Post {
    match random.random_range(0..100) {
        0..=57 => Post::Approval(who),
        58..=63 => Post::Packed(who, random.random_range(2..=6)),
        64..=70 => Post::DoubleClick(who),
        71..=74 => Post::Late(who),
        75..=79 => Post::WrongPerson(who, person(random.random_range(500..510))),
        80..=85 => Post::Denial(who),
        86..=93 => Post::Again,
        94..=96 => Post::Spoof(who),
        _ => Post::Rubbish,
    }
}

impl Post {
    /// Makes it happen at a moment; the messages that appear.
    pub fn happen(self, discord: &mut Discord, at: Timestamp) -> Vec<ChannelMessage> {
        let lane = discord.random.random_range(0..LANES.len());
        let (channel, webhook) = LANES[lane];
        let travelled = discord.between(100, 3_000);
        let late = discord.between(60_000, 130_000);
        let approve = |discord: &mut Discord, asked: UserId, user: UserId, travelled: Duration| {
            let state = state(discord, asked, at, lane);
            let code = discord.approve(user, state.clone(), true, at - travelled);
            (code, state)
        };
        let redirect = |code: String, state: String, travelled| Redirect {
            time: (at - travelled).as_secs(),
            result: Ok(code),
            state: Some(state),
        };
        let mut authentic = true;
        let redirects = match self {
            Self::Approval(user) => {
                let (code, state) = approve(discord, user, user, travelled);
                vec![redirect(code, state, travelled)]
            }
            Self::Packed(first, count) => (0..count)
                .map(|n| {
                    let user = UserId(first.0 + n);
                    let (code, state) = approve(discord, user, user, travelled);
                    redirect(code, state, travelled)
                })
                .collect(),
            Self::DoubleClick(user) => {
                let (code, state) = approve(discord, user, user, travelled);
                let second = discord.approve(user, state.clone(), true, at - travelled);
                vec![
                    redirect(code, state.clone(), travelled),
                    redirect(second, state, travelled),
                ]
            }
            Self::Late(user) => {
                let (code, state) = approve(discord, user, user, late);
                vec![redirect(code, state, late)]
            }
            Self::WrongPerson(asked, user) => {
                let (code, state) = approve(discord, asked, user, travelled);
                vec![redirect(code, state, travelled)]
            }
            Self::Denial(user) => vec![Redirect {
                time: at.as_secs(),
                result: Err("access_denied".to_owned()),
                state: Some(state(discord, user, at, lane)),
            }],
            Self::Again => {
                let earlier: Vec<String> = discord
                    .codes
                    .iter()
                    .filter(|(_, c)| c.authentic)
                    .map(|(n, _)| n.clone())
                    .collect();
                if earlier.is_empty() {
                    return Vec::new();
                }
                let code = earlier[discord.random.random_range(0..earlier.len())].clone();
                let state = discord.codes[&code].state.clone();
                vec![redirect(code, state, travelled)]
            }
            Self::Spoof(user) => {
                authentic = false;
                let (code, state) = approve(discord, user, user, travelled);
                vec![redirect(code, state, travelled)]
            }
            Self::Rubbish => {
                return vec![discord.post(channel, webhook, format!("<@{BOT}> hello"), at)];
            }
        };
        let webhook = if authentic {
            webhook
        } else {
            WebhookId(1_536_000_000_000_000_099)
        };
        // A double click is two redirects: in two messages, or packed into one.
        let apart = matches!(self, Self::DoubleClick(_)) && discord.random.random_bool(0.7);
        let messages: Vec<Vec<Redirect>> = if apart {
            redirects.into_iter().map(|r| vec![r]).collect()
        } else {
            vec![redirects]
        };
        let posted = messages.into_iter().map(|redirects| {
            let content = v1::encode(BOT, &redirects, &Key::new(KEY));
            let message = discord.post(channel, webhook, content, at);
            for (index, redirect) in redirects.iter().enumerate() {
                match &redirect.result {
                    Ok(code) => {
                        let known = discord.codes.get_mut(code).expect("it was issued");
                        if authentic && !known.authentic {
                            (known.authentic, known.posted_at) = (true, at);
                        }
                    }
                    Err(_) => drop(discord.denials.insert((message.id, index as u16))),
                }
            }
            message
        });
        posted.collect()
    }
}

fn state(discord: &mut Discord, user: UserId, at: Timestamp, lane: usize) -> String {
    StateKey::new(&Key::new(KEY)).mint(&StateToken {
        user,
        expires_at: Timestamp::from_secs(at.as_secs() + 240),
        lane: Lane(lane as u8),
        purpose: 0,
        pkce: true,
        again: false,
        nonce: discord.random.random(),
    })
}
