//! Discord's close codes, each with its meaning and what follows from it
//! ([Discord Docs/Opcodes and Status Codes](https://docs.discord.com/developers/topics/opcodes-and-status-codes)).

/// What a closed connection is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOut {
    /// A connection that resumes the session.
    Resume,
    /// A connection that begins a new session.
    Begin,
    /// No connection: codes come from the history alone.
    History,
    /// The end of the process: only an operator can put it right.
    Stop,
}

/// A close code.
#[derive(Debug, PartialEq, Eq)]
pub struct CloseCode {
    /// The number; 0 stands for a connection that ended without one.
    pub code: u16,
    /// What Discord means by it.
    pub meaning: &'static str,
    /// What follows.
    pub way_out: WayOut,
    /// What an operator can do about it; empty where there is nothing to do.
    pub cure: &'static str,
}

const fn row(code: u16, meaning: &'static str, way_out: WayOut, cure: &'static str) -> CloseCode {
    CloseCode {
        code,
        meaning,
        way_out,
        cure,
    }
}

/// Every code that Discord documents, with the two of RFC 6455 that its servers send. The first stands for all others.
pub static CLOSE_CODES: [CloseCode; 17] = [
    row(0, "the connection ended", WayOut::Resume, ""),
    row(1000, "normal closure", WayOut::Resume, ""),
    row(1001, "going away", WayOut::Resume, ""),
    row(4000, "unknown error", WayOut::Resume, ""),
    row(4001, "unknown opcode", WayOut::Resume, ""),
    row(4002, "decode error", WayOut::Resume, ""),
    row(4003, "not authenticated", WayOut::Begin, ""),
    row(
        4004,
        "the bot's token was refused",
        WayOut::Stop,
        "check CODEFERRY_BOT_TOKEN",
    ),
    row(4005, "already authenticated", WayOut::Resume, ""),
    row(4007, "invalid sequence number", WayOut::Begin, ""),
    row(4008, "too many payloads", WayOut::Resume, ""),
    row(4009, "the session timed out", WayOut::Begin, ""),
    row(
        4010,
        "invalid shard",
        WayOut::History,
        "report it: one shard of one is asked for",
    ),
    row(
        4011,
        "sharding is required: the bot is in more than 2,500 servers",
        WayOut::History,
        "use a separate bot for sign-ins, in one server",
    ),
    row(4012, "invalid API version", WayOut::History, "update codeferry"),
    row(
        4013,
        "invalid intents",
        WayOut::Stop,
        "see the log; check the bot's page in the portal",
    ),
    row(
        4014,
        "an intent was refused",
        WayOut::Stop,
        "switch on MESSAGE CONTENT INTENT on the page \"Bot\" of the portal and start again",
    ),
];

/// Looks a code up. Codes that Discord does not document mean no more than that the connection ended.
pub fn look_up(code: Option<u16>) -> &'static CloseCode {
    let known = CLOSE_CODES.iter().find(|known| Some(known.code) == code);
    known.unwrap_or(&CLOSE_CODES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_that_forbids_a_reconnect_leads_to_one() {
        for code in [4004, 4010, 4011, 4012, 4013, 4014] {
            let known = look_up(Some(code));
            assert_eq!(known.code, code);
            assert!(matches!(known.way_out, WayOut::History | WayOut::Stop), "{code}");
            assert!(!known.cure.is_empty(), "{code}");
        }
        assert_eq!(look_up(Some(4999)).way_out, WayOut::Resume);
        assert_eq!(look_up(None).way_out, WayOut::Resume);
    }
}
