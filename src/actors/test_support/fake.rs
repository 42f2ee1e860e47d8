//! A step that does as it is told, and remembers what it was asked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use crate::grant::state::Token;
use crate::grant::{Event, Grant};
use crate::ids::GrantId;
use crate::port::permit::Permit;
use crate::rate::limits::Need;
use crate::secret::{AccessToken, PersonalData};
use crate::steps::{Exchange, Performed, Step};

/// A step that answers as it is told, after as long as it is told.
pub struct Fake {
    takes: Duration,
    answer: Box<dyn Fn(GrantId) -> Event>,
    need: Option<Need>,
    /// Calls that panic from now on.
    pub panics: Cell<u32>,
    /// Calls that kill the whole stage before they are made, from now on.
    pub kills: Cell<u32>,
    /// Calls prepared, calls under way, the most at once.
    pub asked: Cell<usize>,
    pub running: Cell<usize>,
    pub most: Cell<usize>,
    /// Calls begun, with the moment.
    pub begun: RefCell<Vec<(GrantId, Instant)>>,
    /// Calls that came to their end.
    pub ended: Cell<usize>,
    /// Tokens that were ended directly.
    pub abandoned: RefCell<Vec<AccessToken>>,
}

impl Fake {
    pub fn new(takes: Duration, answer: impl Fn(GrantId) -> Event + 'static) -> Rc<Self> {
        Self::needing(None, takes, answer)
    }

    /// One that needs a permit.
    pub fn needing(need: Option<Need>, takes: Duration, answer: impl Fn(GrantId) -> Event + 'static) -> Rc<Self> {
        Rc::new(Self {
            takes,
            answer: Box::new(answer),
            need,
            panics: Cell::default(),
            kills: Cell::default(),
            asked: Cell::default(),
            running: Cell::default(),
            most: Cell::default(),
            begun: RefCell::default(),
            ended: Cell::default(),
            abandoned: RefCell::default(),
        })
    }

    /// Which grants it was called for, in order.
    pub fn calls(&self) -> Vec<GrantId> {
        self.begun.borrow().iter().map(|(grant, _)| *grant).collect()
    }
}

/// A token's event.
pub fn exchanged(grant: GrantId) -> Event {
    Event::Exchanged(Token {
        access: AccessToken::new(format!("token-{grant}")),
        scopes: vec!["identify".to_owned()],
    })
}

/// One less; whether there was one.
fn count_down(cell: &Cell<u32>) -> bool {
    cell.replace(cell.get().saturating_sub(1)) > 0
}

impl Step for Fake {
    type Work = GrantId;

    fn work(grant: &Grant, _: Option<PersonalData>) -> Option<GrantId> {
        Some(grant.id)
    }

    fn needs(&self, _: &GrantId) -> Option<Need> {
        self.asked.set(self.asked.get() + 1);
        // In paused time a loop that waits for nothing would never end.
        assert!(self.asked.get() < 10_000, "asked without a pause");
        assert!(!count_down(&self.kills), "a panic on purpose, outside the call");
        self.need
    }

    fn perform<'a>(&'a self, grant: &'a GrantId, _permit: Permit) -> LocalBoxFuture<'a, Performed> {
        Box::pin(async move {
            self.begun.borrow_mut().push((*grant, Instant::now()));
            let _running = Running::of(self);
            tokio::time::sleep(self.takes).await;
            assert!(!count_down(&self.panics), "a panic on purpose, in the call");
            self.ended.set(self.ended.get() + 1);
            (self.answer)(*grant).into()
        })
    }

    fn after_panic(&self, _: &GrantId) -> Performed {
        Event::CutOff.into()
    }

    fn token_of(event: &Event) -> Option<AccessToken> {
        Exchange::token_of(event)
    }

    fn abandon(&self, token: AccessToken) -> LocalBoxFuture<'_, ()> {
        self.abandoned.borrow_mut().push(token);
        Box::pin(async {})
    }
}

/// Counts a call as under way for as long as it is: also one that panics or is dropped.
struct Running<'a>(&'a Fake);

impl<'a> Running<'a> {
    fn of(fake: &'a Fake) -> Self {
        fake.running.set(fake.running.get() + 1);
        fake.most.set(fake.most.get().max(fake.running.get()));
        Self(fake)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}
