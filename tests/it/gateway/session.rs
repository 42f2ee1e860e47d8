//! The session breaks in every way that Discord or the network knows.

use std::time::Duration;

use codeferry::simulator::gateway::GatewayFault;

use super::case::{Beset, Case, slow, survive};

/// What a session takes to come back: IDENTIFYs are 5 s apart.
const BACK: Duration = Duration::from_secs(10);

/// Strikes once, and posts until the session is back.
fn break_off(beset: &Beset, fault: GatewayFault) -> Vec<String> {
    let before = beset.status();
    beset.gateway(fault);
    beset.post_until_back(before)
}

/// Cuts the connection and refuses new ones for a while.
fn refuse(beset: &Beset, how_long: Duration) -> Vec<String> {
    let for_ms = how_long.as_millis() as u64;
    beset.gateway(GatewayFault::Refuse { for_ms });
    break_off(beset, GatewayFault::DropConnections)
}

fn close(beset: &Beset, code: u16) -> Vec<String> {
    break_off(beset, GatewayFault::Close { code })
}

/// The poll comes after a minute: what the codes of the gap wait for is the session's return, and its reading of history.
const fn back(kind: &'static str, strike: fn(&Beset) -> Vec<String>) -> Case {
    Case {
        kind,
        poll_every: "1m",
        within: BACK,
        strike,
    }
}

/// The session does not come back soon: the poll finds the codes.
const fn polled(kind: &'static str, strike: fn(&Beset) -> Vec<String>) -> Case {
    Case {
        kind,
        poll_every: "10s",
        within: Duration::from_secs(10),
        strike,
    }
}

#[test]
fn no_session_that_is_lost_costs_a_code() {
    survive(&[
        back("gateway: connection dropped", |b| {
            break_off(b, GatewayFault::DropConnections)
        }),
        back("gateway: refused for 300 ms", |b| refuse(b, Duration::from_millis(300))),
        back("gateway: refused for 3 s", |b| refuse(b, Duration::from_secs(3))),
        back("gateway: op 7", |b| break_off(b, GatewayFault::Reconnect)),
        back("gateway: op 9, resumable", |b| {
            break_off(b, GatewayFault::Invalidate { resumable: true })
        }),
        back("gateway: op 9, not resumable", |b| {
            break_off(b, GatewayFault::Invalidate { resumable: false })
        }),
        back("gateway: close 4000", |b| close(b, 4000)),
        back("gateway: close 4007", |b| close(b, 4007)),
        back("gateway: close 4009", |b| close(b, 4009)),
        back("gateway: close without a code", |b| {
            break_off(b, GatewayFault::CloseWithoutCode)
        }),
    ]);
}

#[test]
fn a_gateway_that_stays_away_costs_no_code() {
    survive(&[
        polled("gateway: refused for a minute", |b| {
            refuse(b, Duration::from_secs(if slow() { 60 } else { 14 }))
        }),
        polled("gateway: op 7, then connections without a word", |b| {
            b.gateway(GatewayFault::Mute { for_ms: 15_000 });
            break_off(b, GatewayFault::Reconnect)
        }),
        polled("gateway: close 4011, the history alone", |b| {
            b.gateway(GatewayFault::Close { code: 4011 });
            let codes = b.post(8);
            assert!(b.service.log().contains("2,500 servers"), "{}", b.service.log());
            codes
        }),
        polled("gateway: no heartbeat acknowledged", |b| {
            let codes = break_off(b, GatewayFault::StopAcks);
            b.gateway(GatewayFault::Clear);
            codes
        }),
        polled("gateway: messages never delivered", |b| {
            let count = 8;
            b.gateway(GatewayFault::Withhold { count });
            let codes = b.post(count);
            assert_eq!(b.status().withheld, count);
            codes
        }),
    ]);
}
