//! Watches the free space on the journal's disk. Intake stops before the reserve is needed, so that open grants can still
//! end; codes that are not taken stay in the channel.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::Journal;
use crate::store::Room;
use crate::time::Pulse;

/// Well before what a disk can write between two looks would use up `Room::INTAKE_FLOOR`.
pub(super) const LOOK_EVERY: Duration = Pulse::BEAT;
/// A look wakes the store's thread, so one in five is enough while nothing is committed.
const IDLE_LOOKS: u8 = 5;

impl Journal {
    pub(super) fn look_for_room_in_time(&mut self, ctx: &mut Context<Self>) {
        self.looks_left_out += 1;
        let committed = self.commits.has_left();
        if committed || self.room_is_low || self.looks_left_out >= IDLE_LOOKS {
            self.look_for_room(ctx);
        }
    }

    pub(super) fn look_for_room(&mut self, ctx: &mut Context<Self>) {
        self.looks_left_out = 0;
        let room = self.settings.store.room();
        ctx.spawn(room.into_actor(self).map(|room, journal, _| {
            // The pipeline learns of a store that fails; one that was closed needs no more looks.
            if let Ok(room) = room {
                journal.found_room(room);
            }
        }));
    }

    fn found_room(&mut self, room: Room) {
        let is_low = room.is_low();
        if is_low == std::mem::replace(&mut self.room_is_low, is_low) {
            return;
        }
        let free_mb = room.free_bytes >> 20;
        if is_low {
            tracing::error!(
                free_mb,
                "the journal's disk is nearly full: codes stay in the channel until it has room; free some"
            );
        } else {
            tracing::info!(free_mb, "the journal's disk has room again: codes are taken");
        }
    }
}
