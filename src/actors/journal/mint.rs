//! Issues links, and takes new rules for the gate.

use actix::{Handler, ResponseFuture};

use super::Journal;
use super::message::{JournalError, LaneWorks, Mint, MintRefused, SetGate};
use crate::intake::gate::Minted;
use crate::intake::mint::{Link, Wanted};
use crate::metrics::{self, LinkResult};

impl Handler<Mint> for Journal {
    type Result = ResponseFuture<Result<Link, MintRefused>>;

    fn handle(&mut self, Mint { user, purpose, again }: Mint, ctx: &mut Self::Context) -> Self::Result {
        let no_room = self.room_is_low.then_some(JournalError::NoRoom);
        if let Some(error) = self.working().err().or(no_room) {
            return Box::pin(async move { Err(MintRefused::Journal(error)) });
        }
        let wanted = Wanted { user, purpose, again };
        let now = self.now();
        let (minted, changed) = self.open_grants.mint(&self.settings.minter, wanted, now);
        metrics::link(match &minted {
            Minted::New(..) => LinkResult::New,
            Minted::Again(_) => LinkResult::Again,
            Minted::Later { .. } => LinkResult::Later,
        });
        metrics::links_outstanding(self.open_grants.links());
        let durable = self.commit(changed, ctx);
        match minted {
            Minted::New(link, _) => Box::pin(async move {
                let outcome = durable.wait().await;
                outcome.map(|()| link).map_err(MintRefused::Journal)
            }),
            Minted::Again(link) => Box::pin(async { Ok(link) }),
            Minted::Later { after } => Box::pin(async move { Err(MintRefused::Later { after }) }),
        }
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
        match trouble {
            None => tracing::info!(%lane, "the lane works again: links are made for it"),
            Some(reason) => tracing::warn!(%lane, reason, "the lane is out: no links are made for it until it works"),
        }
    }
}
