//! People of a launch: they ask for a link, wait if they are told to, think, and approve, refuse or walk away.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use codeferry::actors::journal::Journal;
use codeferry::actors::journal::message::Mint;
use codeferry::ids::UserId;
use codeferry::intake::mint::Wanted;
use codeferry::port::contact::NoLink;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};
use url::Url;

use super::play::Came;
use super::relays::Way;
use crate::world::outside::Outside;
use crate::world::script::person;

/// How long somebody who was told to wait longer waits before they look again.
const LOOKS_AGAIN: Duration = Duration::from_mins(1);
/// How long somebody goes on asking for a link.
const PATIENCE: Duration = Duration::from_mins(20);

/// What somebody will do.
pub struct Person {
    user: UserId,
    at: Duration,
    thinks: Duration,
    does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Approve,
    /// And loads the page again.
    Reload,
    Deny,
    WalkAway,
}

impl Person {
    pub fn new(n: u64, at: Duration, random: &mut StdRng) -> Self {
        let does = match random.random_range(0..100) {
            0..3 => Does::WalkAway,
            3..6 => Does::Deny,
            6..9 => Does::Reload,
            _ => Does::Approve,
        };
        Self {
            user: person(n),
            at,
            thinks: Duration::from_millis(random.random_range(2_000..15_000)),
            does,
        }
    }
}

/// Everybody's surroundings.
pub struct Crowd {
    pub gated: bool,
    pub journal: Addr<Journal>,
    pub outside: Outside,
    pub relay: Way,
    pub came: Rc<RefCell<Came>>,
}

impl Crowd {
    pub async fn walk(self: Rc<Self>, who: Person) {
        sleep(who.at).await;
        let Some(state) = self.link(who.user).await else {
            self.came.borrow_mut().gave_up += 1;
            return;
        };
        self.came.borrow_mut().links += 1;
        sleep(who.thinks).await;
        match who.does {
            Does::WalkAway => {}
            Does::Deny => {
                self.relay.redirect(format!("error=access_denied&state={state}")).await;
            }
            Does::Approve | Does::Reload => {
                let code = self.outside.with(|d| {
                    let now = d.now();
                    d.approve(who.user, state.clone(), self.gated, now)
                });
                let query = format!("code={code}&state={state}");
                self.came.borrow_mut().approved += 1;
                self.relay.redirect(query.clone()).await;
                if who.does == Does::Reload {
                    sleep(Duration::from_secs(2)).await;
                    self.relay.redirect(query).await;
                }
            }
        }
    }

    /// A link's state; `None` for who waited too long. Without a gate everybody gets one.
    async fn link(&self, user: UserId) -> Option<String> {
        if !self.gated {
            return Some(user.to_string());
        }
        let asked = Instant::now();
        let mut told = false;
        let (purpose, again) = (0, false);
        while asked.elapsed() < PATIENCE {
            match self
                .journal
                .send(Mint(Wanted { user, purpose, again }))
                .await
                .expect("it lives")
            {
                Ok(link) => {
                    let mut came = self.came.borrow_mut();
                    came.longest_wait = came.longest_wait.max(asked.elapsed());
                    let url = Url::parse(&link.url).expect("a URL");
                    let state = url.query_pairs().find(|(name, _)| name == "state");
                    return state.map(|(_, state)| state.into_owned());
                }
                Err(NoLink::Later(after)) => {
                    if !std::mem::replace(&mut told, true) {
                        self.came.borrow_mut().told += 1;
                    }
                    // They are told that it may be sooner.
                    sleep(after.min(LOOKS_AGAIN)).await;
                }
                Err(refused) => panic!("{refused}"),
            }
        }
        None
    }
}
