//! Issues links, and takes new rules for the gate.

use actix::{Addr, Handler, ResponseFuture};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::Journal;
use super::message::{JournalError, LaneWorks, Mint, SetGate};
use crate::intake::gate::Minted;
use crate::intake::mint::{Link, Wanted};
use crate::metrics::{self, LinkResult};
use crate::port::contact::{LinkIssuer, NoLink};

impl Handler<Mint> for Journal {
    type Result = ResponseFuture<Result<Link, NoLink>>;

    fn handle(&mut self, Mint(wanted): Mint, ctx: &mut Self::Context) -> Self::Result {
        let no_room = self.room_is_low.then_some(JournalError::NoRoom);
        // A fresh link for a code that expired belongs to the work that a drain still ends.
        let stopping = (self.draining && !wanted.again).then_some(JournalError::Stopping);
        if let Some(error) = self.working().err().or(no_room).or(stopping) {
            return Box::pin(async move { Err(error.into()) });
        }
        let now = self.now();
        let (minted, changed) = self.open_grants.mint(&self.settings.minter, wanted, now);
        metrics::link(match &minted {
            Minted::New(_) => LinkResult::New,
            Minted::Again(_) => LinkResult::Again,
            Minted::Later { .. } => LinkResult::Later,
        });
        if matches!(minted, Minted::New(_)) {
            self.recent.link_made();
        }
        metrics::links_outstanding(self.open_grants.links());
        let durable = self.commit(changed, ctx);
        // A place is held, or kept, before anybody is told.
        Box::pin(async move {
            durable.wait().await?;
            match minted {
                Minted::New(link) | Minted::Again(link) => Ok(link),
                Minted::Later { after } => Err(NoLink::Later(after)),
            }
        })
    }
}

impl LinkIssuer for Addr<Journal> {
    fn mint(&self, wanted: Wanted) -> LocalBoxFuture<'_, Result<Link, NoLink>> {
        let asked = self.send(Mint(wanted));
        async move {
            let minted = asked.await;
            let minted = minted.unwrap_or_else(|_| Err(NoLink::Failed("the journal has ended".to_owned())));
            if let Err(NoLink::Failed(why)) = &minted {
                tracing::warn!(error = why, "a link could not be created");
            }
            minted
        }
        .boxed_local()
    }
}

impl Handler<SetGate> for Journal {
    type Result = ();

    fn handle(&mut self, SetGate(rules): SetGate, _: &mut Self::Context) {
        self.open_grants.set_gate(rules);
    }
}

impl Handler<LaneWorks> for Journal {
    type Result = ();

    fn handle(&mut self, LaneWorks { lane, trouble }: LaneWorks, _: &mut Self::Context) {
        if !self.open_grants.set_lane(lane, trouble.is_none()) {
            return;
        }
        self.recent.lane(lane, trouble.clone());
        match trouble {
            None => tracing::info!(%lane, "the lane works again: new links use it"),
            Some(reason) => tracing::warn!(%lane, reason, "the lane does not work: new links avoid it until it does"),
        }
    }
}
