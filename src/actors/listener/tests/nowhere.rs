//! A store without a disk.

use super::*;

/// A store with as much room as it is told, which keeps nothing.
pub(super) struct Nowhere(pub(super) Arc<AtomicU64>);

impl Durable for Nowhere {
    type Change = Change;

    fn commit(&mut self, _: &[Change]) -> Result<(), StoreError> {
        Ok(())
    }
    fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    fn rest(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Store for Nowhere {
    fn data(&mut self, _: GrantId) -> Result<Option<PersonalData>, StoreError> {
        Ok(None)
    }
    fn closed(&mut self, _: GrantId) -> Result<Option<ClosedGrant>, StoreError> {
        Ok(None)
    }
    fn newest_closed(&mut self, _: usize) -> Result<Vec<ClosedGrant>, StoreError> {
        Ok(Vec::new())
    }
    fn closed_totals(&mut self) -> Result<ClosedTotals, StoreError> {
        Ok(ClosedTotals::default())
    }
    fn sweep_closed(&mut self, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn destroy_idle_keys(&mut self, _: Timestamp) -> Result<usize, StoreError> {
        Ok(0)
    }
    fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        Ok(Vec::new())
    }
    fn size_bytes(&self) -> u64 {
        0
    }
    fn room(&self) -> Result<Room, StoreError> {
        Ok(Room {
            free_bytes: self.0.load(Ordering::Relaxed),
            reserve_held: true,
        })
    }
}
