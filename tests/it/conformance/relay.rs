//! The rules of `codeferry relay`, and the line that it writes of what it takes.

use std::time::Duration;

use codeferry::intake::callback::{CLOCK_TOLERANCE, CallbackRules, Refusal};
use codeferry::intake::state::StateKey;
use codeferry::intake::v1::{self, Redirect};
use codeferry::secret::Key;
use codeferry::time::Timestamp;

use super::{Case, Made, Sender, Table};

/// The rules, as the relay's command sets them.
pub struct Rules;

impl Sender for Rules {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn make(&mut self, table: &Table, case: &Case) -> Made {
        let key = Key::new(table.key.as_bytes());
        let rules = CallbackRules {
            key: StateKey::new(&key),
            code_lifetime: Duration::from_secs(table.code_lifetime),
            tolerance: CLOCK_TOLERANCE,
            lanes: Some(table.lanes),
        };
        match rules.read(&case.query, Timestamp::from_secs(case.at)) {
            Ok(callback) => {
                let page = if callback.result.is_ok() { "success" } else { "denied" };
                let redirect = Redirect {
                    time: case.at,
                    result: match callback.result {
                        Ok(code) => Ok(code.expose().to_owned()),
                        Err(reason) => Err(reason.to_string()),
                    },
                    state: Some(callback.state.expose().to_owned()),
                };
                let bot = table.bot.parse().expect("an id");
                Made {
                    message: Some(v1::encode(bot, &[redirect], &key)),
                    refusal: None,
                    lane: Some(callback.token.lane.0),
                    page: Some(page.to_owned()),
                }
            }
            Err(refusal) => Made {
                message: None,
                refusal: Some(refusal.to_string()),
                lane: None,
                page: Some(
                    if refusal == Refusal::StateExpired {
                        "expired"
                    } else {
                        "invalid"
                    }
                    .to_owned(),
                ),
            },
        }
    }
}
