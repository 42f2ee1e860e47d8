//! Names of the metrics, as functions, so that no call site spells one.

use metrics::counter;

use crate::grant::Outcome;

/// What a channel message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageResult {
    /// A redirect was journalled.
    Accepted,
    /// A redirect was known already.
    Duplicate,
    /// From a lane's webhook, but not understood.
    Malformed,
    /// Not from a lane's webhook: a spoof, or talk.
    Foreign,
}

impl MessageResult {
    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
            Self::Foreign => "foreign",
        }
    }
}

/// Counts one message.
pub fn message(result: MessageResult) {
    messages(result, 1);
}

/// Counts messages or redirects: `codeferry_messages_total{result}`.
pub fn messages(result: MessageResult, n: u64) {
    counter!("codeferry_messages_total", "result" => result.name()).increment(n);
}

/// Counts new grants: `codeferry_grants_received_total`.
pub fn grants_received(n: u64) {
    counter!("codeferry_grants_received_total").increment(n);
}

/// Counts closed grants: `codeferry_grants_closed_total{outcome}`.
pub fn grant_closed(outcome: Outcome) {
    counter!("codeferry_grants_closed_total", "outcome" => outcome.name()).increment(1);
}

/// Counts attempts: `codeferry_attempts_total{step,answer}`.
pub fn attempt(step: &'static str, answer: &'static str) {
    counter!("codeferry_attempts_total", "step" => step, "answer" => answer).increment(1);
}
