//! People who sign in: most once, some again, some twice at a time; some say no, some load the page again.

use std::collections::BTreeMap;

use codeferry::intake::v1::Redirect;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::service::test_support::{PERSON, Site, redirect};

/// Who came, and what they brought.
pub struct People {
    random: StdRng,
    /// How many different people came.
    count: u64,
    /// Every code that was posted, with the first message that carried it.
    pub codes: Vec<(String, u64)>,
    /// What each person is owed.
    pub owed: BTreeMap<u64, Owed>,
}

/// What one person brought.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owed {
    /// Codes and denials: as many outcomes.
    pub outcomes: usize,
    /// Of these, the codes that a consent brought beyond its first: those may end as duplicates, which send no result.
    pub doubles: usize,
}

impl People {
    pub fn new(random: StdRng) -> Self {
        Self {
            random,
            count: 0,
            codes: Vec::new(),
            owed: BTreeMap::new(),
        }
    }

    /// How many outcomes there must be in the end.
    pub fn expected(&self) -> usize {
        self.owed.values().map(|o| o.outcomes).sum()
    }

    /// So many codes come, each in a message of its own or all in one.
    pub fn come(&mut self, site: &Site, codes: u32) {
        let before = self.codes.len();
        let mut visits = Vec::new();
        while self.codes.len() + visits.iter().map(|v: &Visit| v.codes.len()).sum::<usize>() < before + codes as usize {
            visits.push(self.visit(site));
        }
        if self.random.random_bool(0.5) {
            let all: Vec<Redirect> = visits.iter().flat_map(|v| v.redirects.clone()).collect();
            let message = site.post(0, site.sign(&all));
            self.codes
                .extend(visits.into_iter().flat_map(|v| v.codes).map(|c| (c, message)));
            return;
        }
        for visit in visits {
            let message = site.post(0, site.sign(&visit.redirects));
            self.codes.extend(visit.codes.into_iter().map(|c| (c, message)));
        }
    }

    fn visit(&mut self, site: &Site) -> Visit {
        // One in ten was here before, most likely a moment ago: their sign-ins meet.
        let again = self.count > 0 && self.random.random_bool(0.1);
        let nth = if again {
            self.count - 1 - self.random.random_range(0..self.count.min(20))
        } else {
            self.count += 1;
            self.count - 1
        };
        let user = PERSON + nth;
        let state = site.state(user);
        let owed = self.owed.entry(user).or_default();
        owed.outcomes += 1;
        let first = || site.code(user, &state);
        let (codes, loads) = match self.random.random_range(0..20) {
            0 => (vec![], 1),
            1 => {
                owed.outcomes += 1;
                owed.doubles += 1;
                (vec![first(), first()], 1)
            }
            2 => (vec![first()], 2),
            _ => (vec![first()], 1),
        };
        let mut redirects: Vec<Redirect> = codes.iter().map(|c| redirect(Ok(c.clone()), &state)).collect();
        if codes.is_empty() {
            redirects.push(redirect(Err("access_denied".to_owned()), &state));
        }
        Visit {
            redirects: std::iter::repeat_n(redirects, loads).flatten().collect(),
            codes,
        }
    }
}

struct Visit {
    redirects: Vec<Redirect>,
    codes: Vec<String>,
}
