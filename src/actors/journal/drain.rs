//! Ends the journal: reports what is under way, stops claims of codes, closes the store.

use actix::{ActorFutureExt, Handler, ResponseActFuture, WrapFuture};

use super::Journal;
use super::message::{Close, Drain, Outstanding, OutstandingWork, ResumeExchange, Stalled};
use crate::store::StoreError;

impl Handler<OutstandingWork> for Journal {
    type Result = Outstanding;

    fn handle(&mut self, _: OutstandingWork, _: &mut Self::Context) -> Self::Result {
        let (tokens, steps) = self.open_grants.outstanding();
        Outstanding {
            tokens,
            steps,
            indexed: self.open_grants.indexed(),
            failed: self.failed.clone(),
        }
    }
}

impl Handler<Drain> for Journal {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.draining = true;
        self.open_grants.drain(self.now());
        self.offer_work(ctx);
    }
}

impl Handler<ResumeExchange> for Journal {
    type Result = ();

    fn handle(&mut self, _: ResumeExchange, ctx: &mut Self::Context) {
        if std::mem::take(&mut self.exchange_paused) {
            tracing::info!("Discord accepts the application's credentials again");
        }
        self.offer_work(ctx);
    }
}

impl Handler<Stalled> for Journal {
    type Result = bool;

    fn handle(&mut self, _: Stalled, _: &mut Self::Context) -> bool {
        self.exchange_paused
    }
}

impl Handler<Close> for Journal {
    type Result = ResponseActFuture<Self, Result<(), StoreError>>;

    fn handle(&mut self, _: Close, _: &mut Self::Context) -> Self::Result {
        self.leave();
        let store = self.settings.store.clone();
        let closed = async move { store.close().await }.into_actor(self);
        Box::pin(closed.map(|closed, journal, _| {
            journal.events.end();
            closed
        }))
    }
}
