//! The simulator's own record of what was asked of it, by which a service is judged. It only records; it never decides an answer.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Everything recorded since the start. Times are microseconds since the Unix epoch by the simulator's clock.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Every code issued, in order.
    pub codes: Vec<CodeRecord>,
    /// Every access token issued, in order.
    pub tokens: Vec<TokenRecord>,
    /// Every execution of a webhook, refused ones too, in order.
    pub posts: Vec<PostRecord>,
    /// Answers by endpoint and status.
    pub answers: BTreeMap<String, BTreeMap<u16, u64>>,
    #[serde(skip)]
    code_index: HashMap<String, usize>,
    #[serde(skip)]
    token_index: HashMap<String, usize>,
}

/// The life of one authorization code.
#[derive(Clone, Serialize, Deserialize)]
pub struct CodeRecord {
    /// The code.
    pub code: String,
    /// The person who approved.
    pub user_id: u64,
    /// When it was issued.
    pub issued_at_us: i64,
    /// Every time it was presented to the token endpoint.
    pub presented: Vec<Presentation>,
    /// The access tokens issued from it.
    pub tokens: Vec<String>,
}

/// A code presented once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Presentation {
    /// When.
    pub at_us: i64,
    /// The status decided upon; 0 until the answer is made.
    pub status: u16,
    /// The `error` of a refusal.
    pub error: Option<String>,
    /// What became of the answer.
    pub answer: AnswerFate,
    /// Whether a whole 200 answer for this code had been written before.
    pub after_full_answer: bool,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFate {
    /// Not all written yet.
    Pending,
    /// Written to its last byte.
    InFull,
    /// Cut off.
    Cut,
    /// Written whole, but a fault had made it useless: the token is not in it.
    Spoiled,
    /// Written whole, to a service that was killed before it had written the token down.
    Unrecorded,
}

/// The life of one access token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The token.
    pub token: String,
    /// Whose it is.
    pub user_id: u64,
    /// The code it came from; none for other grants.
    pub code: Option<String>,
    /// When it was issued.
    pub issued_at_us: i64,
    /// Whether an answer that carried it was written in full.
    pub received: bool,
    /// Whether it is still good (expiry aside).
    pub alive: bool,
    /// When it was killed.
    pub revoked_at_us: Option<i64>,
    /// What killed it.
    pub revoked_by: Option<Revocation>,
    /// Every use.
    pub uses: Vec<Use>,
}

/// What killed a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// The revocation endpoint, for this token or another one of the same person.
    Revoked,
    /// Its code was presented again.
    CodeReused,
    /// Its refresh token was used, or the person withdrew.
    Withdrawn,
}

/// A token used once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Use {
    /// When.
    pub at_us: i64,
    /// On what.
    pub endpoint: String,
    /// The status answered.
    pub status: u16,
}

/// One execution of a webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PostRecord {
    /// When.
    pub at_us: i64,
    /// The webhook's channel; 0 if the webhook is unknown.
    pub channel_id: u64,
    /// The webhook.
    pub webhook_id: u64,
    /// The status answered.
    pub status: u16,
    /// The message made; some faults answer with an error although there is one.
    pub message_id: Option<u64>,
}

impl std::fmt::Debug for CodeRecord {
    /// Leaves the code and its tokens out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeRecord")
            .field("user_id", &self.user_id)
            .field("presented", &self.presented)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TokenRecord {
    /// Leaves the token and its code out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRecord")
            .field("user_id", &self.user_id)
            .field("alive", &self.alive)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// The judgement in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Codes issued.
    pub codes: usize,
    /// Codes presented at least once.
    pub presented: usize,
    /// Codes presented after a whole 200 answer for them had been written.
    pub presented_twice: usize,
    /// Live tokens that were received in full.
    pub tokens_left: usize,
    /// Live tokens whose answer was cut off or spoiled: nobody can have them.
    pub orphans: usize,
    /// The most accepted posts into one channel within any closed 60 s.
    pub worst_minute: usize,
}

impl Ledger {
    /// Records a code.
    pub fn issued(&mut self, code: &str, user_id: u64, at_us: i64) {
        self.code_index.insert(code.to_owned(), self.codes.len());
        self.codes.push(CodeRecord {
            code: code.to_owned(),
            user_id,
            issued_at_us: at_us,
            presented: Vec::new(),
            tokens: Vec::new(),
        });
    }

    /// Records that a code was presented; `None` for a code that was never issued. The numbers name the presentation.
    pub fn presented(&mut self, code: &str, at_us: i64) -> Option<(usize, usize)> {
        let index = *self.code_index.get(code)?;
        let record = &mut self.codes[index];
        let after_full_answer = record
            .presented
            .iter()
            .any(|p| p.status == 200 && p.answer == AnswerFate::InFull);
        record.presented.push(Presentation {
            at_us,
            status: 0,
            error: None,
            answer: AnswerFate::Pending,
            after_full_answer,
        });
        Some((index, record.presented.len() - 1))
    }

    /// Records the answer decided upon.
    pub fn answered(&mut self, (code, nth): (usize, usize), status: u16, error: Option<String>) {
        let presentation = &mut self.codes[code].presented[nth];
        presentation.status = status;
        presentation.error = error;
    }

    /// Records what became of the answer.
    pub fn written(&mut self, (code, nth): (usize, usize), fate: AnswerFate, token: Option<&str>) {
        self.codes[code].presented[nth].answer = fate;
        if let Some(record) = token.and_then(|t| self.token_mut(t)) {
            record.received |= fate == AnswerFate::InFull;
        }
    }

    /// Records that whoever was answered in full was killed before the token of this code was written down: as if the
    /// answer had been cut off.
    pub fn unrecorded(&mut self, code: &str) {
        let Some(record) = self.code_index.get(code).map(|index| &mut self.codes[*index]) else {
            return;
        };
        for presentation in record.presented.iter_mut().filter(|p| p.answer == AnswerFate::InFull) {
            presentation.answer = AnswerFate::Unrecorded;
        }
        for token in record.tokens.clone() {
            if let Some(token) = self.token_mut(&token) {
                token.received = false;
            }
        }
    }

    /// Records a token; a token already known gets another code only.
    pub fn token(&mut self, token: &str, user_id: u64, code: Option<&str>, at_us: i64) {
        if let Some(index) = code.and_then(|c| self.code_index.get(c)) {
            self.codes[*index].tokens.push(token.to_owned());
        }
        if self.token_index.contains_key(token) {
            return;
        }
        self.token_index.insert(token.to_owned(), self.tokens.len());
        self.tokens.push(TokenRecord {
            token: token.to_owned(),
            user_id,
            code: code.map(str::to_owned),
            issued_at_us: at_us,
            received: false,
            alive: true,
            revoked_at_us: None,
            revoked_by: None,
            uses: Vec::new(),
        });
    }

    /// Records that a token was killed.
    pub fn killed(&mut self, token: &str, by: Revocation, at_us: i64) {
        if let Some(record) = self.token_mut(token).filter(|r| r.alive) {
            record.alive = false;
            record.revoked_at_us = Some(at_us);
            record.revoked_by = Some(by);
        }
    }

    /// Records a use of a token.
    pub fn used(&mut self, token: &str, endpoint: &str, status: u16, at_us: i64) {
        if let Some(record) = self.token_mut(token) {
            record.uses.push(Use {
                at_us,
                endpoint: endpoint.to_owned(),
                status,
            });
        }
    }

    /// Records an answer by endpoint and status.
    pub fn count(&mut self, endpoint: &str, status: u16) {
        if !self.answers.contains_key(endpoint) {
            self.answers.insert(endpoint.to_owned(), BTreeMap::new());
        }
        if let Some(by_status) = self.answers.get_mut(endpoint) {
            *by_status.entry(status).or_default() += 1;
        }
    }

    /// The record of a code.
    pub fn code(&self, code: &str) -> Option<&CodeRecord> {
        // A ledger read back from JSON has no index.
        match self.code_index.get(code) {
            Some(index) => self.codes.get(*index),
            None => self.codes.iter().find(|r| r.code == code),
        }
    }

    fn token_mut(&mut self, token: &str) -> Option<&mut TokenRecord> {
        let index = *self.token_index.get(token)?;
        self.tokens.get_mut(index)
    }

    /// How often an endpoint answered with a status.
    pub fn answer_count(&self, endpoint: &str, status: u16) -> u64 {
        self.answers
            .get(endpoint)
            .and_then(|s| s.get(&status))
            .copied()
            .unwrap_or(0)
    }

    /// The most posts into one channel within any closed window, by channel; `accepted` leaves the refused ones out.
    pub fn worst_windows(&self, window_us: i64, accepted: bool) -> BTreeMap<u64, usize> {
        let mut recent: HashMap<u64, VecDeque<i64>> = HashMap::new();
        let mut worst = BTreeMap::new();
        for post in &self.posts {
            if accepted && post.message_id.is_none() {
                continue;
            }
            let times = recent.entry(post.channel_id).or_default();
            times.push_back(post.at_us);
            // The window is closed: a post exactly one window later still counts.
            while times.front().is_some_and(|first| post.at_us - first > window_us) {
                times.pop_front();
            }
            let most: &mut usize = worst.entry(post.channel_id).or_default();
            *most = (*most).max(times.len());
        }
        worst
    }

    /// The judgement in figures.
    pub fn summary(&self) -> Summary {
        Summary {
            codes: self.codes.len(),
            presented: self.codes.iter().filter(|c| !c.presented.is_empty()).count(),
            presented_twice: self
                .codes
                .iter()
                .filter(|c| c.presented.iter().any(|p| p.after_full_answer))
                .count(),
            tokens_left: self.tokens.iter().filter(|t| t.alive && t.received).count(),
            orphans: self.tokens.iter().filter(|t| t.alive && !t.received).count(),
            worst_minute: self.worst_windows(60_000_000, true).into_values().max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(at_s: i64, channel_id: u64, status: u16) -> PostRecord {
        PostRecord {
            at_us: at_s * 1_000_000,
            channel_id,
            webhook_id: 1,
            status,
            message_id: (status < 300).then_some(1),
        }
    }

    #[test]
    fn the_worst_window_is_closed_and_per_channel() {
        let ledger = Ledger {
            posts: vec![
                post(0, 1, 204),
                post(10, 2, 204),
                post(30, 1, 429),
                post(60, 1, 200),
                post(61, 1, 200),
            ],
            ..Ledger::default()
        };
        assert_eq!(ledger.worst_windows(60_000_000, true), BTreeMap::from([(1, 2), (2, 1)]));
        assert_eq!(ledger.worst_windows(60_000_000, false)[&1], 3);
    }

    #[test]
    fn only_a_code_presented_after_a_whole_answer_counts_as_presented_twice() {
        let mut ledger = Ledger::default();
        let fates = [
            ("cut", AnswerFate::Cut),
            ("killed", AnswerFate::InFull),
            ("whole", AnswerFate::InFull),
        ];
        for (code, fate) in fates {
            ledger.issued(code, 7, 0);
            let first = ledger.presented(code, 1).expect("a known code");
            ledger.token(code, 7, Some(code), 1);
            ledger.answered(first, 200, None);
            ledger.written(first, fate, Some(code));
            if code == "killed" {
                ledger.unrecorded(code);
            }
            let second = ledger.presented(code, 2).expect("a known code");
            ledger.answered(second, 400, Some("invalid_grant".into()));
        }
        assert!(ledger.presented("never issued", 3).is_none());
        let summary = ledger.summary();
        assert_eq!((summary.presented, summary.presented_twice), (3, 1));
        assert_eq!((summary.tokens_left, summary.orphans), (1, 2));
        ledger.killed("whole", Revocation::Revoked, 4);
        assert_eq!(ledger.summary().tokens_left, 0);
    }
}
