//! Version 1: a mention, one line for each redirect, one MAC line; no newline at the end.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::entry::{Entry, Malformed, PROBE, Parsed, is_code, is_state};
use super::hash::{hmac_sha256, verify};
use crate::grant::Reason;
use crate::ids::UserId;
use crate::secret::{AuthorizationCode, Key, Keys, RawState};
use crate::time::Timestamp;

/// Discord's limit on a message's content, in characters.
pub const MESSAGE_LIMIT: usize = 2_000;

/// The lines after `<@BOT>\n`, if the content begins so, and which version the first one names.
pub(super) fn after_mention(content: &str, bot: UserId) -> Option<(u32, &str)> {
    let lines = content.strip_prefix(&format!("<@{bot}>\n"))?;
    let (version, _) = lines.strip_prefix('v')?.split_once(' ')?;
    Some((version.parse().ok()?, lines))
}

/// Reads the lines, MAC first: nothing of a forged message is looked at.
pub(super) fn parse(content: &str, lines: &str, keys: &Keys) -> Result<Parsed, Malformed> {
    let (signed, mac_line) = content.rsplit_once('\n').ok_or(Malformed::NoMac)?;
    let mac = mac_line.strip_prefix("m1 ").ok_or(Malformed::NoMac)?;
    let mac: [u8; 32] = URL_SAFE_NO_PAD
        .decode(mac)
        .ok()
        .and_then(|m| m.try_into().ok())
        .ok_or(Malformed::Forged)?;
    // Every byte before the MAC line, the newline included.
    let signed = &content.as_bytes()[..=signed.len()];
    keys.find(|key| verify(key, signed, &mac)).ok_or(Malformed::Forged)?;
    let lines = lines.strip_suffix(mac_line).unwrap_or(lines);
    let read: Vec<Option<Entry>> = lines.lines().map(parse_line).collect();
    let malformed_lines = read.iter().filter(|e| e.is_none()).count();
    let entries: Vec<Entry> = read.into_iter().flatten().collect();
    if entries.is_empty() {
        return Err(Malformed::NoLine);
    }
    Ok(Parsed {
        entries,
        malformed_lines,
    })
}

fn parse_line(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let (version, time, result, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if version != "v1" || words.next().is_some() {
        return None;
    }
    let time: i64 = time.parse().ok().filter(|t| (0..100_000_000_000).contains(t))?;
    let result = match result.strip_prefix('!') {
        Some(error) => Err(Reason::new(&percent_decode(error)?)),
        None => {
            let code = percent_decode(result)?;
            Ok(is_code(&code).then(|| AuthorizationCode::new(code.as_str()))?)
        }
    };
    let state = match state {
        "-" => None,
        encoded => {
            let state = percent_decode(encoded)?;
            Some(is_state(&state).then(|| RawState::new(state.as_str()))?)
        }
    };
    Some(Entry {
        redirected_at: Some(Timestamp::from_secs(time)),
        result,
        state,
    })
}

/// Decodes `%XX`; `None` for a stray `%` or what is not UTF-8. A `+` stays: Discord's codes and our states have none.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next()?, rest.next()?];
            let hex = std::str::from_utf8(&hex)
                .ok()
                .filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// One redirect as a relay writes it: query values as they stood, still percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// When the redirect came, in Unix seconds.
    pub time: i64,
    /// The code, or the error that came instead.
    pub result: Result<String, String>,
    /// The state; absent where the query had none.
    pub state: Option<String>,
}

impl Redirect {
    fn line(&self) -> String {
        let result = match &self.result {
            Ok(code) => code.clone(),
            Err(error) => format!("!{error}"),
        };
        format!("v1 {} {result} {}\n", self.time, self.state.as_deref().unwrap_or("-"))
    }
}

/// Writes a message of version 1.
pub fn encode(bot: UserId, redirects: &[Redirect], relay_key: &Key) -> String {
    let mut text = format!("<@{bot}>\n");
    text.extend(redirects.iter().map(Redirect::line));
    let mac = hmac_sha256(relay_key, text.as_bytes());
    text.push_str("m1 ");
    text.push_str(&URL_SAFE_NO_PAD.encode(mac));
    text
}

/// Writes a message that tests the way and brings no redirect.
pub fn encode_probe(bot: UserId, now: Timestamp, relay_key: &Key) -> String {
    let probe = Redirect {
        time: now.as_secs(),
        result: Err(PROBE.to_owned()),
        state: None,
    };
    encode(bot, &[probe], relay_key)
}

/// What a message has besides its lines.
fn around(bot: UserId) -> usize {
    format!("<@{bot}>\n").len() + "m1 ".len() + 43
}

/// Whether so many lines like this one fit into a message.
pub fn fits(bot: UserId, redirect: &Redirect, lines: usize) -> bool {
    around(bot) + redirect.line().len() * lines <= MESSAGE_LIMIT
}

/// How many of these redirects, from the first on, fit into one message.
pub fn fitting(bot: UserId, redirects: &[Redirect]) -> usize {
    let mut length = around(bot);
    redirects
        .iter()
        .take_while(|r| {
            length += r.line().len();
            length <= MESSAGE_LIMIT
        })
        .count()
}
