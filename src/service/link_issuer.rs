//! Where the slash command and new invitations have their links from: the journal, which keeps the gate.

use actix::Addr;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::actors::journal::Journal;
use crate::actors::journal::message::{Mint, MintRefused};
use crate::ids::UserId;
use crate::intake::mint::Link;
use crate::port::contact::{LinkIssuer, NoLink};

/// Asks the journal.
pub struct JournalLinkIssuer(pub Addr<Journal>);

impl LinkIssuer for JournalLinkIssuer {
    fn mint(&self, user: UserId, purpose: u8, again: bool) -> LocalBoxFuture<'_, Result<Link, NoLink>> {
        let asked = self.0.send(Mint { user, purpose, again });
        async move {
            match asked.await {
                Ok(Ok(link)) => Ok(link),
                Ok(Err(MintRefused::Later { after })) => Err(NoLink::Later(after)),
                Ok(Err(error @ MintRefused::Journal(_))) => {
                    tracing::warn!(%error, "no link could be made");
                    Err(NoLink::Failed)
                }
                // A dead journal ends the process elsewhere.
                Err(_) => Err(NoLink::Failed),
            }
        }
        .boxed_local()
    }
}
