//! The simulator's record of the requests it got, by which tests judge a service. It never decides an answer.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Everything recorded since the start. Times are microseconds since the Unix epoch by the simulator's clock.
#[derive(Clone, Default, Serialize, Deserialize)]
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
    /// The user who approved.
    pub user_id: u64,
    /// When it was issued.
    pub issued_at_us: i64,
    /// Every time it was presented to the token endpoint.
    pub presented: Vec<Presentation>,
    /// The access tokens issued from it.
    pub tokens: Vec<String>,
}

/// One presentation of a code.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Presentation {
    /// When.
    pub at_us: i64,
    /// The answer's status; 0 until it is decided.
    pub status: u16,
    /// The `error` of a refusal.
    pub error: Option<String>,
    /// Whether the answer arrived.
    pub answer: AnswerFate,
    /// Whether a 200 for this code had been written in full before.
    pub after_full_answer: bool,
}

/// Whether an answer arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFate {
    /// Not written in full yet.
    Pending,
    /// Written in full.
    InFull,
    /// Cut off.
    Cut,
    /// Written in full, but a fault had removed the token.
    Spoiled,
    /// Written in full to a service that was killed before it had stored the token.
    Unrecorded,
}

/// The life of one access token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The token.
    pub token: String,
    /// The token's user.
    pub user_id: u64,
    /// The code it was issued from, if it was a code.
    pub code: Option<String>,
    /// When it was issued.
    pub issued_at_us: i64,
    /// Whether an answer with it was written in full.
    pub received: bool,
    /// Whether it is still valid, apart from expiry.
    pub alive: bool,
    /// When it was revoked.
    pub revoked_at_us: Option<i64>,
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
    /// The posted message; with some faults there is one although the answer is an error.
    pub message_id: Option<u64>,
}

impl std::fmt::Debug for CodeRecord {
    /// Without the code and its tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeRecord")
            .field("user_id", &self.user_id)
            .field("presented", &self.presented)
            .finish_non_exhaustive()
    }
}

/// The ledger in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Codes issued.
    pub codes: usize,
    /// Codes presented at least once.
    pub presented: usize,
    /// Codes presented again after a 200 for them had been written in full.
    pub presented_twice: usize,
    /// Live tokens that were received in full.
    pub tokens_left: usize,
    /// Live tokens whose answer was cut off or spoiled: no client has them.
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

    /// Records that a code was presented: where it is recorded, or `None` for a code that was never issued.
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

    /// Records the decided answer.
    pub fn answered(&mut self, (code, nth): (usize, usize), status: u16, error: Option<String>) {
        let presentation = &mut self.codes[code].presented[nth];
        presentation.status = status;
        presentation.error = error;
    }

    /// Records whether the answer arrived.
    pub fn written(&mut self, (code, nth): (usize, usize), fate: AnswerFate, token: Option<&str>) {
        self.codes[code].presented[nth].answer = fate;
        if let Some(record) = token.and_then(|t| self.token_mut(t)) {
            record.received |= fate == AnswerFate::InFull;
        }
    }

    /// Records that the service was killed before it had stored the token of this code: as if the answer had been cut off.
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

    /// Records a token; a known token is only added to the code.
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
        });
    }

    /// Records that a token was revoked.
    pub fn killed(&mut self, token: &str, at_us: i64) {
        if let Some(record) = self.token_mut(token).filter(|r| r.alive) {
            record.alive = false;
            record.revoked_at_us = Some(at_us);
        }
    }

    /// Records an answer by endpoint and status.
    pub fn count(&mut self, endpoint: String, status: u16) {
        let by_status = self.answers.entry(endpoint).or_default();
        *by_status.entry(status).or_default() += 1;
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
        let by_status = self.answers.get(endpoint);
        by_status.and_then(|s| s.get(&status)).copied().unwrap_or(0)
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

    /// The ledger in figures.
    pub fn summary(&self) -> Summary {
        let codes = |wanted: fn(&CodeRecord) -> bool| self.codes.iter().filter(|c| wanted(c)).count();
        let live = |received| self.tokens.iter().filter(move |t| t.alive && t.received == received);
        Summary {
            codes: self.codes.len(),
            presented: codes(|c| !c.presented.is_empty()),
            presented_twice: codes(|c| c.presented.iter().any(|p| p.after_full_answer)),
            tokens_left: live(true).count(),
            orphans: live(false).count(),
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
        ledger.killed("whole", 4);
        assert_eq!(ledger.summary().tokens_left, 0);
    }
}
