//! The gateway's side of a run.

use std::time::Duration;

use codeferry::port::discord::{ChannelMessage, GatewayNote};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::world::faults::Kind;
use crate::world::outside::Outside;

/// The gateway's side: hints that come late, twice or never.
pub(super) struct Gateway {
    pub(super) outside: Outside,
    pub(super) notes: mpsc::Sender<GatewayNote>,
}

impl Gateway {
    pub(super) fn connect(&self) {
        let notes = self.notes.clone();
        tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(300)).await;
            let _ = notes.send(GatewayNote::Ready).await;
        });
    }

    pub(super) fn tell(&self, message: ChannelMessage) {
        let waits = self.outside.with(|d| {
            let mut waits = Vec::new();
            if !d.strikes(Kind::NoteDropped) {
                waits.push(d.between(20, 400));
            }
            if d.strikes(Kind::NoteTwice) {
                waits.push(d.between(20, 400_000));
            }
            if d.strikes(Kind::NoteLate) {
                for wait in &mut waits {
                    *wait += Duration::from_secs(20);
                }
            }
            waits
        });
        for wait in waits {
            let (notes, message) = (self.notes.clone(), message.clone());
            tokio::task::spawn_local(async move {
                sleep(wait).await;
                let _ = notes.send(GatewayNote::Message(message)).await;
            });
        }
    }
}
