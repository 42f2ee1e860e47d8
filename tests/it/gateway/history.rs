//! A channel whose history is refused, slow, odd or empty: the gateway and the next reading find every code.

use std::time::Duration;

use codeferry::simulator::gateway::GatewayFault;
use codeferry::simulator::limits::Scope;
use codeferry::simulator::{BotPermissions, Endpoint, Fault, FaultBody, FaultRule};

use super::case::{Beset, Case, survive};

/// Readings fail in this way for 4 s, while the gateway brings half of the codes.
fn failing(beset: &Beset, fault: Fault) -> Vec<String> {
    let faults = beset.site.simulator.faults();
    let lasting = FaultRule::on(Endpoint::Messages, fault).lasting(Duration::from_secs(4));
    faults.add(lasting);
    let mut codes = beset.post(3);
    beset.gateway(GatewayFault::Withhold { count: 3 });
    codes.extend(beset.post(3));
    codes.extend(beset.post_until(Duration::from_secs(20), "a refused reading", || {
        faults.list()[0].struck > 0
    }));
    codes
}

fn status(status: u16) -> Fault {
    Fault::Status {
        status,
        body: FaultBody::Json,
        retry_after: None,
        after_work: false,
    }
}

const fn read_every_second(kind: &'static str, strike: fn(&Beset) -> Vec<String>) -> Case {
    Case {
        kind,
        poll_every: "1s",
        within: Duration::from_secs(8),
        strike,
    }
}

#[test]
fn no_history_that_is_refused_slow_or_odd_costs_a_code() {
    survive(&[
        read_every_second("history: 502", |b| failing(b, status(502))),
        read_every_second("history: 503 in HTML", |b| {
            let body = FaultBody::Html;
            failing(
                b,
                Fault::Status {
                    status: 503,
                    body,
                    retry_after: None,
                    after_work: false,
                },
            )
        }),
        read_every_second("history: 429", |b| {
            let (scope, retry_after_ms) = (Scope::User, 1_500);
            failing(b, Fault::RateLimited { scope, retry_after_ms })
        }),
        read_every_second("history: the answer is cut off", |b| failing(b, Fault::CutAnswer)),
        read_every_second("history: JSON that breaks off", |b| failing(b, Fault::TruncatedJson)),
        read_every_second("history: a page of 10 MB", |b| {
            failing(b, Fault::HugeAnswer { megabytes: 10 })
        }),
        read_every_second("history: unknown fields", |b| failing(b, Fault::UnknownFields)),
        Case {
            kind: "history: 3 s for a page",
            poll_every: "10s",
            within: Duration::from_secs(13),
            strike: |b| {
                let faults = b.site.simulator.faults();
                faults.add(FaultRule::on(Endpoint::Messages, Fault::Delay { ms: 3_000 }));
                let count = 6;
                b.gateway(GatewayFault::Withhold { count });
                let codes = b.post(count);
                assert_eq!(b.status().withheld, count);
                codes
            },
        },
        Case {
            kind: "history: no permission to read it",
            poll_every: "1s",
            within: Duration::from_secs(2),
            strike: |b| {
                let channel = b.site.lane(0).0;
                let read_history = false;
                let permissions = BotPermissions {
                    read_history,
                    ..BotPermissions::default()
                };
                b.site.simulator.permit(channel, permissions);
                b.post(8)
            },
        },
    ]);
}
