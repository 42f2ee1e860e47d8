//! Source messages to remove, and how far each channel's history was read.

use actix::Handler;

use super::Journal;
use super::message::{ClaimRemovals, Cursor, MoveCursor, Position, Removed};
use crate::store::SourceMessage;

impl Handler<ClaimRemovals> for Journal {
    type Result = Vec<SourceMessage>;

    fn handle(&mut self, ClaimRemovals(most): ClaimRemovals, _: &mut Self::Context) -> Self::Result {
        if self.working().is_err() {
            Vec::new()
        } else {
            self.open_grants.claim_removals(most, self.now())
        }
    }
}

impl Handler<Removed> for Journal {
    type Result = ();

    fn handle(&mut self, Removed { message, again_in }: Removed, ctx: &mut Self::Context) {
        let again_at = again_in.map(|wait| self.now() + wait);
        let changed = self.open_grants.removed(message, again_at);
        drop(self.commit(changed, ctx));
    }
}

impl Handler<MoveCursor> for Journal {
    type Result = ();

    fn handle(&mut self, MoveCursor { channel, read_to }: MoveCursor, ctx: &mut Self::Context) {
        let changed = self.open_grants.move_cursor(channel, read_to);
        drop(self.commit(changed, ctx));
    }
}

impl Handler<Cursor> for Journal {
    type Result = Position;

    fn handle(&mut self, Cursor(channel): Cursor, _: &mut Self::Context) -> Self::Result {
        Position {
            read_to: self.open_grants.cursor(channel),
            now: self.now(),
        }
    }
}
