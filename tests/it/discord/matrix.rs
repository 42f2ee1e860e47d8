//! Every call against every fault of the network: what the answer is taken for, that nothing hangs, that no secret goes
//! to another host. What the answers tell the governor is played as storms.

mod faults;
mod storm;

use std::net::SocketAddr;
use std::time::Duration;

use codeferry::port::discord::Resource;
use codeferry::rate::feedback::HttpFeedback;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use self::faults::{Closes, Fault, Serves, faults};
use super::fault_server::{FaultServer, closed_port, json};
use super::{TIMEOUT, bot, callback_post, resources, token_endpoint, webhook_post};
use crate::tally::{Tally, tell};

/// A call to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Exchange,
    Fetch,
    Revoke,
    Callback,
    Post,
    History,
}

/// Every call, in the order of a fault's expected answers.
const CALLS: [Call; 6] = [
    Call::Exchange,
    Call::Fetch,
    Call::Revoke,
    Call::Callback,
    Call::Post,
    Call::History,
];

impl Call {
    async fn make(self, address: SocketAddr) -> (String, Option<HttpFeedback>) {
        match self {
            Self::Exchange => token_endpoint::exchange_at(address).await,
            Self::Fetch => resources::fetch_at(address, Resource::User).await,
            Self::Revoke => token_endpoint::revoke_at(address).await,
            Self::Callback => (callback_post::post_to(&format!("http://{address}/hook")).await, None),
            Self::Post => webhook_post::post_at(address).await,
            Self::History => bot::history_at(address).await,
        }
    }

    /// The longest it may take: the timeout, and what a busy machine adds. Reading history waits short 429s out itself.
    fn patience(self) -> Duration {
        let busy = Duration::from_secs(4);
        match self {
            Self::History => 3 * TIMEOUT + 2 * Duration::from_secs(5) + busy,
            _ => TIMEOUT + busy,
        }
    }
}

/// Makes one call meet one fault.
async fn meet(fault: &Fault, call: Call) -> (String, Option<HttpFeedback>) {
    // The server lives as long as the call.
    let (address, _server) = match &fault.serves {
        Serves::Play(play) => {
            let server = FaultServer::start(vec![play.clone()]).await;
            (server.address(), Some(server))
        }
        Serves::ResetAtOnce => {
            let server = FaultServer::resetting().await;
            (server.address(), Some(server))
        }
        Serves::Nobody => (closed_port().await, None),
    };
    call.make(address).await
}

#[tokio::test]
async fn every_call_takes_every_fault_for_what_it_is_in_time() {
    let trap = FaultServer::start(vec![json(200, r#"{"access_token":"trapped"}"#)]).await;
    let faults = faults(trap.address());
    let cells = faults
        .iter()
        .flat_map(|f| CALLS.iter().zip(&f.expected).map(move |c| (f, c)));
    let met = stream::iter(cells).map(|(fault, (call, expected))| async move {
        let began = Instant::now();
        let (answer, _) = meet(fault, *call).await;
        let took = began.elapsed();
        let fine = answer == *expected && took < call.patience();
        let wrong = format!(
            "{} by {call:?}: `{answer}` instead of `{expected}`, in {took:?}",
            fault.name
        );
        (fault.name, (!fine).then_some(wrong))
    });
    let met: Vec<_> = met.buffer_unordered(CALLS.len()).collect().await;
    for fault in &faults {
        let of_it = || met.iter().filter(|(name, _)| *name == fault.name);
        let tally = Tally {
            tried: of_it().count() as u64,
            survived: of_it().filter(|(_, wrong)| wrong.is_none()).count() as u64,
            ..Tally::default()
        };
        tell(&format!("network: {}", fault.name), tally);
    }
    let wrong: Vec<_> = met.into_iter().filter_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(trap.connections(), 0, "nothing goes where a redirect points");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_not_sent() {
    let began = Instant::now();
    assert_eq!(callback_post::post_to("https://name.invalid/hook").await, "not sent");
    assert!(began.elapsed() < Call::Callback.patience());
}

#[test]
fn no_storm_overshoots_a_limit_and_the_breaker_opens_and_closes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let storms: Vec<_> = faults(nowhere)
        .into_iter()
        .filter(|f| f.closes != Closes::Nothing)
        .collect();
    for call in CALLS {
        // A revocation's answers close what an exchange's do; the callback's say nothing of Discord.
        if matches!(call, Call::Revoke | Call::Callback) {
            continue;
        }
        let answers = runtime.block_on(join_all(storms.iter().map(|fault| meet(fault, call))));
        let mut tally = Tally::default();
        for (fault, (_, answer)) in storms.iter().zip(answers) {
            tally.tried += 1;
            storm::survive(call, &answer.expect("an answer came"), fault.closes);
            tally.survived += 1;
        }
        tell(&format!("limits: storms over {call:?}"), tally);
    }
}
