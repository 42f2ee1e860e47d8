//! Closed grants as version 1 kept them, each in a record of the engine: they move into the log when a store is opened.

use std::collections::{BTreeMap, HashMap};

use super::super::record::{self, Address, Table};
use super::super::sled_store::SledStore;
use super::super::write::{Plan, engine};
use crate::store::error::StoreError;
use crate::store::seal;

/// Records of one commit: a kill in between leaves some here and some there, and the next start goes on.
const AT_ONCE: usize = 500;

impl SledStore {
    /// Moves them all, and says how many there were.
    pub(in crate::store::backend) fn migrate_closed(&mut self) -> Result<u64, StoreError> {
        let mut moved = 0;
        loop {
            let mut closing = Vec::new();
            let mut plan = Plan {
                writes: BTreeMap::new(),
                open: HashMap::new(),
                closing: Vec::new(),
                totals: self.meta.closed,
            };
            for item in self.db.scan_prefix([Table::Closed as u8]).take(AT_ONCE) {
                let (key, value) = item.map_err(|e| engine("list closed grants", &e))?;
                let read = Address::parse(&key).and_then(|(address, _)| {
                    let payload = seal::unwrap_plain(address.place(&key), &value).ok()?;
                    Some((record::decode_closed(&address, payload)?, address))
                });
                let (closed, address) = read.ok_or_else(|| StoreError::damaged("a closed grant's record"))?;
                plan.writes.insert(address, None);
                plan.writes.insert(Address::closed_at(&closed), None);
                closing.push(closed);
            }
            if closing.is_empty() {
                return Ok(moved);
            }
            moved += closing.len() as u64;
            plan.closing = closing.iter().collect();
            self.write(plan)?;
        }
    }
}
