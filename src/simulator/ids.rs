//! The ids that are the same in every simulator.

/// The guild.
pub const GUILD_ID: u64 = 1_536_340_000_000_000_001;
/// The user who owns the guild and the application.
pub const OWNER_ID: u64 = 153_600_000_000_000_777;
/// A bot in the guild that belongs to another application.
pub const OTHER_BOT_ID: u64 = 1_536_000_000_000_000_666;
/// The first intake channel; the ids of the others follow.
pub const FIRST_LANE_CHANNEL: u64 = 1_536_340_000_000_000_100;
/// The webhook of the first intake channel; the ids of the others follow.
pub const FIRST_LANE_WEBHOOK: u64 = 1_536_343_300_000_000_100;
/// The channel for results.
pub const RESULT_CHANNEL: u64 = 1_536_340_000_000_000_020;
/// The webhook of the channel for results.
pub const RESULT_WEBHOOK: u64 = 1_536_343_300_000_000_020;
/// A second webhook in the first intake channel, which no lane is configured for.
pub const STRANGE_WEBHOOK: u64 = 1_536_343_300_000_000_030;
/// A guild role that only the bot has.
pub const BOT_ROLE_ID: u64 = 1_536_340_000_000_000_010;

/// The id of the n-th initial user: 17, 18, 19 and 20 digits in turn, as on Discord.
pub fn nth_person_id(nth: u64) -> u64 {
    let base = match nth % 4 {
        0 => 80_000_000_000_000_001,
        1 => 180_000_000_000_000_001,
        2 => 1_180_000_000_000_000_001,
        _ => 18_000_000_000_000_000_001,
    };
    base + nth / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;

    #[test]
    fn people_have_ids_of_17_to_20_digits() {
        for nth in 0..8 {
            let id = nth_person_id(nth).to_string();
            assert_eq!(id.len() as u64, 17 + nth % 4);
            assert!(id.parse::<UserId>().is_ok());
        }
    }
}
