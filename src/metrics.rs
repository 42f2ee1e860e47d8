//! Names and registration of the metrics. Every other place counts through the functions here, never through a name.
//!
//! Nothing here may carry a person, a code or a token: labels are closed sets, a lane's number, or a sink's configured name.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::grant::Outcome;
use crate::ids::Lane;

macro_rules! described {
    ($($name:ident = $describe:ident $text:literal, $about:literal;)+) => {
        $(const $name: &str = $text;)+

        fn describe_each() {
            $($describe!($name, $about);)+
        }
    };
}

described! {
    MESSAGES = describe_counter "codeferry_messages_total",
        "Messages read in the lanes' channels, by result.";
    UNREADABLE = describe_counter "codeferry_unreadable_messages_total",
        "Messages of the lanes' own webhooks that could not be read, by lane and cause.";
    RECEIVED = describe_counter "codeferry_grants_received_total", "Grants journalled.";
    CLOSED = describe_counter "codeferry_grants_closed_total", "Grants closed, by outcome.";
    ATTEMPTS = describe_counter "codeferry_attempts_total", "Outbound calls of the stages, by result.";
    GIVEN_UP = describe_counter "codeferry_deliveries_given_up_total", "Deliveries given up, by sink.";
    PRESENTED = describe_histogram "codeferry_posted_to_presented_seconds", "A code's age when it was presented.";
    REVOKED = describe_histogram "codeferry_posted_to_revoked_seconds",
        "From a code's posting to the end of its token.";
    OPEN = describe_gauge "codeferry_open_grants", "Open grants, by state.";
    LINKS = describe_counter "codeferry_links_total", "Requests for a link, by result.";
    OUTSTANDING = describe_gauge "codeferry_links_outstanding", "Links that hold a place.";
    COMMANDS = describe_counter "codeferry_commands_total", "Uses of the slash command, by answer.";
    CALLBACKS = describe_counter "codeferry_callbacks_total",
        "Callbacks to direct intake, by result; denied ones count as accepted too, limited ones as unsigned too.";
    SPENT = describe_gauge "codeferry_budget_spent",
        "Spent of a budget: webhook in a minute, global and oauth in a second, invalid_requests in ten minutes.";
}

/// Seconds. A code lives about 100 of them; what is later was a revocation that had to be repeated.
const BUCKETS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 100.0, 300.0, 1800.0, 7200.0,
];

/// The exporter keeps single samples until it sorts them into buckets, which nothing else makes it do unless somebody
/// reads the metrics; so every so many samples do.
const SAMPLES_KEPT: u32 = 1024;

static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();
static SAMPLES: AtomicU32 = AtomicU32::new(0);
/// The counts of [`MessageResult`] once more, in the order of its values: an exporter's counters cannot be read back.
static MESSAGES_READ: [AtomicU64; MessageResult::ALL.len()] = [const { AtomicU64::new(0) }; MessageResult::ALL.len()];

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$case_doc])* $case),+
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$case),+];

            /// The label's text.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$case => $text),+
                }
            }
        }
    )+};
}

labels! {
    /// What a channel message, or one redirect in it, turned out to be.
    MessageResult {
        /// A redirect was journalled.
        Accepted = "accepted",
        /// A redirect was known already.
        Duplicate = "duplicate",
        /// From a lane's webhook, but not understood.
        Malformed = "malformed",
        /// Not from a lane's webhook: a spoof, or talk.
        Foreign = "foreign",
        /// A test of `doctor --probe`, brought by the gateway.
        ProbeByGateway = "probe_by_gateway",
        /// A test of `doctor --probe`, found in the history.
        ProbeByHistory = "probe_by_history",
    }

    /// What a request for a link came to.
    LinkResult {
        /// A new link.
        New = "new",
        /// The person's own, which was still good.
        Again = "again",
        /// The person was told to wait.
        Later = "later",
    }

    /// What somebody who used the bot's own command was told.
    CommandAnswer {
        /// A link.
        Link = "link",
        /// To come back: there was no room for one more sign-in.
        Later = "later",
        /// That it did not work.
        Failed = "failed",
        /// That there is no such purpose any more.
        Gone = "gone",
        /// Nothing: the use was too old.
        TooLate = "too_late",
        /// Nothing: the answer did not get through.
        Lost = "lost",
    }
}

/// Makes the metrics of this process be kept, once. Before it they cost next to nothing and go nowhere. Where another
/// recorder is in place already it stays.
pub fn install() {
    let recorder = recorder();
    let exporter = recorder.handle();
    if metrics::set_global_recorder(recorder).is_ok() {
        describe();
        let _ = EXPORTER.set(exporter);
    }
}

/// All metrics in Prometheus' text format; empty before [`install`].
pub fn render() -> String {
    EXPORTER.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// A message was read.
pub fn message(result: MessageResult) {
    messages(result, 1);
}

/// So many messages, or redirects in one, were read.
pub fn messages(result: MessageResult, n: u64) {
    MESSAGES_READ[result as usize].fetch_add(n, Ordering::Relaxed);
    counter!(MESSAGES, "result" => result.name()).increment(n);
}

/// What was read since the start of this process, by what became of it.
pub fn messages_read() -> impl Iterator<Item = (&'static str, u64)> {
    let read = MESSAGES_READ.iter().map(|count| count.load(Ordering::Relaxed));
    MessageResult::ALL.iter().map(|result| result.name()).zip(read)
}

/// A message of a lane's own webhook could not be read.
pub fn unreadable(lane: Lane, cause: &'static str) {
    counter!(UNREADABLE, "lane" => lane.to_string(), "cause" => cause).increment(1);
}

/// So many grants were journalled.
pub fn grants_received(n: u64) {
    counter!(RECEIVED).increment(n);
}

/// A grant closed.
pub fn grant_closed(outcome: Outcome) {
    counter!(CLOSED, "outcome" => outcome.name()).increment(1);
}

/// An attempt at a step ended: the task's name and the name of the event that was reported, both closed sets of `grant`.
pub fn attempt(step: &'static str, answer: &'static str) {
    counter!(ATTEMPTS, "step" => step, "answer" => answer).increment(1);
}

/// A delivery was given up after having been parked; the sink by its configured name.
pub fn delivery_given_up(sink: &str) {
    counter!(GIVEN_UP, "sink" => sink.to_owned()).increment(1);
}

/// Somebody used the bot's own command.
pub fn command_answered(answer: CommandAnswer) {
    counter!(COMMANDS, "answer" => answer.name()).increment(1);
}

/// How old a code was, by its source message, when it was presented.
pub fn posted_to_presented(age: Duration) {
    histogram!(PRESENTED).record(age);
    keep_small();
}

/// How long it took from a source message to the end of its token.
pub fn posted_to_revoked(age: Duration) {
    histogram!(REVOKED).record(age);
    keep_small();
}

/// A link was asked for.
pub fn link(result: LinkResult) {
    counter!(LINKS, "result" => result.name()).increment(1);
}

/// How many links are outstanding.
pub fn links_outstanding(count: usize) {
    gauge!(OUTSTANDING).set(count as f64);
}

/// How many open grants stand somewhere, by the name of their state.
pub fn open_grants(state: &'static str, count: usize) {
    gauge!(OPEN, "state" => state).set(count as f64);
}

/// So many callbacks have come to this by now, by direct intake's own names.
pub fn callbacks(result: &'static str, so_far: u64) {
    counter!(CALLBACKS, "result" => result).absolute(so_far);
}

/// How much of a budget is spent; `lane` for a lane's own.
pub fn budget_spent(budget: &'static str, lane: Option<Lane>, spent: u32) {
    match lane {
        Some(lane) => gauge!(SPENT, "budget" => budget, "lane" => lane.to_string()).set(spent),
        None => gauge!(SPENT, "budget" => budget).set(spent),
    }
}

fn keep_small() {
    if let Some(exporter) = EXPORTER.get()
        && SAMPLES.fetch_add(1, Ordering::Relaxed) % SAMPLES_KEPT == SAMPLES_KEPT - 1
    {
        exporter.run_upkeep();
    }
}

fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
        .expect("there are buckets")
        .build_recorder()
}

/// Describes every metric and starts the counters at 0, so that a rate over the first event is a rate.
fn describe() {
    describe_each();
    for &result in MessageResult::ALL {
        messages(result, 0);
    }
    for result in LinkResult::ALL {
        counter!(LINKS, "result" => result.name()).increment(0);
    }
    grants_received(0);
    for outcome in Outcome::ALL {
        counter!(CLOSED, "outcome" => outcome.name()).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_exposed_under_its_name() {
        let recorder = recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            describe();
            message(MessageResult::Foreign);
            unreadable(Lane(2), "mac");
            grants_received(1);
            grant_closed(Outcome::WrongPerson);
            attempt("exchange", "cut_off");
            delivery_given_up("archive");
            command_answered(CommandAnswer::Later);
            posted_to_presented(Duration::from_millis(400));
            posted_to_revoked(Duration::from_hours(24));
            open_grants("settling", 7);
            link(LinkResult::Later);
            links_outstanding(5);
            callbacks("repeated", 4);
            callbacks("repeated", 6);
            budget_spent("webhook", Some(Lane(2)), 29);
            budget_spent("oauth", None, 3);
            recorder.handle().render()
        });
        for line in [
            "codeferry_messages_total{result=\"accepted\"} 0",
            "codeferry_messages_total{result=\"foreign\"} 1",
            "codeferry_unreadable_messages_total{lane=\"2\",cause=\"mac\"} 1",
            "codeferry_grants_received_total 1",
            "codeferry_grants_closed_total{outcome=\"wrong_person\"} 1",
            "codeferry_grants_closed_total{outcome=\"completed\"} 0",
            "codeferry_attempts_total{step=\"exchange\",answer=\"cut_off\"} 1",
            "codeferry_deliveries_given_up_total{sink=\"archive\"} 1",
            "codeferry_commands_total{answer=\"later\"} 1",
            "codeferry_posted_to_presented_seconds_bucket{le=\"0.25\"} 0",
            "codeferry_posted_to_presented_seconds_bucket{le=\"0.5\"} 1",
            "codeferry_posted_to_revoked_seconds_bucket{le=\"7200\"} 0",
            "codeferry_posted_to_revoked_seconds_bucket{le=\"+Inf\"} 1",
            "codeferry_links_total{result=\"later\"} 1",
            "codeferry_links_outstanding 5",
            "codeferry_callbacks_total{result=\"repeated\"} 6",
            "codeferry_open_grants{state=\"settling\"} 7",
            "codeferry_budget_spent{budget=\"webhook\",lane=\"2\"} 29",
            "codeferry_budget_spent{budget=\"oauth\"} 3",
            "# HELP codeferry_grants_received_total Grants journalled.",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "`{line}` is missing in:\n{text}"
            );
        }
    }
}
