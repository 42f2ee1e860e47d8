//! When and where faults strike.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::{Endpoint, Fault};

/// When and where a fault strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Where.
    pub endpoint: Endpoint,
    /// What.
    pub fault: Fault,
    /// How often it strikes; always if `None`.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many requests pass before it strikes.
    #[serde(default)]
    pub skip: u32,
    /// The probability, from 0 to 1.
    #[serde(default = "always")]
    pub chance: f64,
    /// How long the rule holds, in milliseconds.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// How often it has struck.
    #[serde(default)]
    pub struck: u64,
}

fn always() -> f64 {
    1.0
}

impl FaultRule {
    /// A fault at every request to an endpoint.
    pub fn on(endpoint: Endpoint, fault: Fault) -> Self {
        Self {
            endpoint,
            fault,
            times: None,
            skip: 0,
            chance: 1.0,
            for_ms: None,
            struck: 0,
        }
    }

    /// Strikes only this many times.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets this many requests pass first.
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Strikes with a probability.
    pub fn with_chance(mut self, chance: f64) -> Self {
        self.chance = chance;
        self
    }

    /// Holds for this long.
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.for_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

/// The rules, each with the time at which it ends.
#[derive(Default)]
pub struct FaultList {
    rules: Vec<(FaultRule, i64)>,
}

impl FaultList {
    /// Adds a rule.
    pub fn add(&mut self, rule: FaultRule, now_us: i64) {
        let until = rule.for_ms.map_or(i64::MAX, |ms| {
            now_us.saturating_add(i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX))
        });
        self.rules.push((rule, until));
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules.
    pub fn rules(&self) -> Vec<FaultRule> {
        self.rules.iter().map(|(rule, _)| rule.clone()).collect()
    }

    /// The first fault that `kind` selects and that strikes now; counts it.
    pub fn take(
        &mut self,
        endpoint: Endpoint,
        now_us: i64,
        rng: &mut StdRng,
        kind: impl Fn(&Fault) -> bool,
    ) -> Option<Fault> {
        for (rule, until) in &mut self.rules {
            let here = rule.endpoint == endpoint || rule.endpoint == Endpoint::Any;
            if !here || now_us >= *until || rule.times == Some(0) || !kind(&rule.fault) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.chance < 1.0 && !rng.random_bool(rule.chance.clamp(0.0, 1.0)) {
                continue;
            }
            rule.times = rule.times.map(|t| t - 1);
            rule.struck += 1;
            return Some(rule.fault.clone());
        }
        None
    }
}
