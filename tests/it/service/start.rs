//! The start, beside which codes flow already: whatever ends it, exchanges under way are ended first.

use std::collections::BTreeSet;

use codeferry::simulator::{Endpoint, Fault, FaultBody, FaultRule};

use super::judge::{everything_ended, on_the_way};
use super::shutdown::{GRACE, interrupt, presented};
use super::test_support::Site;

/// A site whose one code is on its way to Discord while the start still looks at the channel.
fn site() -> Site {
    let site = Site::without_limits("");
    let faults = site.simulator.faults();
    faults.add(FaultRule::on(Endpoint::Channel, Fault::Delay { ms: 1_500 }));
    faults.add(FaultRule::on(Endpoint::Token, Fault::DelayAnswer { ms: 3_000 }));
    site.sign_in(0, 1);
    site
}

#[test]
fn a_start_that_gives_up_ends_the_exchanges_under_way_first() {
    let site = site();
    let gone = Fault::Status {
        status: 404,
        body: FaultBody::Json,
        retry_after: None,
        after_work: false,
    };
    site.simulator.faults().add(FaultRule::on(Endpoint::Channel, gone));
    let mut service = site.run();
    assert_eq!(service.ends(GRACE), 2, "{}", service.log());
    assert_eq!(site.simulator.summary().presented, 1);
    assert_eq!(on_the_way(&site), BTreeSet::new());
    everything_ended(&site, 1, &BTreeSet::new());
}

#[test]
fn ctrl_c_during_the_start_ends_the_exchanges_under_way_first() {
    let site = site();
    let mut service = site.run();
    presented(&site, 1);
    interrupt(&service);
    assert_eq!(service.ends(GRACE), 0, "{}", service.log());
    assert_eq!(on_the_way(&site), BTreeSet::new());
    everything_ended(&site, 1, &BTreeSet::new());
}
