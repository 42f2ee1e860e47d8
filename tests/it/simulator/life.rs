//! How a simulator begins and ends.

use std::time::Duration;

use tokio::time::Instant;

use super::support::Discord;
use codeferry::ids::snowflake_time;
use codeferry::simulator::{Endpoint, Fault, FaultRule, PostRequest, Simulator, SimulatorOptions};
use codeferry::time::{Clock as _, SystemClock, Timestamp};

/// Far below the delays that hold requests up in these tests.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn stopping_cuts_requests_that_are_held_up() {
    let discord = Discord::start();
    discord
        .simulator
        .faults()
        .add(FaultRule::on(Endpoint::GatewayUrl, Fault::Delay { ms: 600_000 }));
    let url = format!("{}/gateway", discord.about.api_base);
    let mut held = Box::pin(discord.http.get(url).send());
    let looked_at = async {
        while discord.simulator.faults().list()[0].struck == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = &mut held => panic!("answered although it is held up"),
        () = looked_at => {}
    }
    let started = Instant::now();
    let Discord { simulator, .. } = discord;
    simulator.stop();
    assert!(started.elapsed() < AT_ONCE);
    held.await.expect_err("the connection is cut");
}

#[test]
fn a_port_in_use_is_an_error_and_is_free_again_after_the_end() {
    let first = Simulator::start(SimulatorOptions::default()).expect("it starts");
    let port = first.port();
    let options = || SimulatorOptions {
        port,
        ..SimulatorOptions::default()
    };
    let error = Simulator::start(options()).err().expect("the port is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    Simulator::start(options()).expect("the port is free again");
}

#[test]
fn several_simulators_run_side_by_side_with_secrets_of_their_own() {
    let [a, b] = [(); 2].map(|()| Simulator::start(SimulatorOptions::default()).expect("it starts"));
    assert_ne!(a.base_url(), b.base_url());
    assert_ne!(a.describe().bot_token, b.describe().bot_token);
}

#[tokio::test]
async fn the_date_of_an_answer_and_the_time_in_an_id_follow_the_offset_of_discords_clock() {
    for offset_ms in [0, 3_600_000, -86_400_000] {
        let discord = Discord::with(SimulatorOptions {
            clock_offset_ms: offset_ms,
            ..SimulatorOptions::without_limits()
        });
        let webhook = discord.about.lanes[0].webhook.id.parse().expect("an id");
        for stepped_ms in [0, 7_200_000] {
            discord.simulator.step_clock(stepped_ms);
            let expected = SystemClock.now().as_millis() + offset_ms + stepped_ms;
            let answer = discord
                .http
                .get(format!("{}/gateway", discord.about.api_base))
                .send()
                .await;
            let answer = answer.expect("an answer");
            let dates: Vec<_> = answer.headers().get_all("date").iter().collect();
            let [date] = dates.as_slice() else {
                panic!("{dates:?}");
            };
            let date = httpdate::parse_http_date(date.to_str().expect("text")).expect("a date");
            let off = Timestamp::from(date).as_millis() - expected;
            assert!(off.abs() <= 5_000, "{offset_ms} {stepped_ms}: {off}");
            let id = discord.simulator.post(PostRequest::webhook(webhook, "text"));
            let off = snowflake_time(id.expect("posted")).as_millis() - expected;
            assert!(off.abs() <= 5_000, "{offset_ms} {stepped_ms}: {off}");
        }
    }
}
