//! One table of callbacks, and every sender that has to make the same of them. Another sender is one more [`Sender`].

pub mod engine;
pub mod hookdeck;
mod page;
mod relay;
mod vectors;
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use codeferry::ids::UserId;
use codeferry::intake::message::{self, Accept};
use codeferry::intake::state::{StateKey, StateMode, StateRules};
use codeferry::secret::Key;
use codeferry::time::Timestamp;
use serde::Deserialize;

/// The table: `tests/it/fixtures/callbacks.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(rename = "about")]
    _about: String,
    /// The relay key and the state key.
    pub key: String,
    /// The bot to mention.
    pub bot: String,
    /// How many lanes there are.
    pub lanes: usize,
    /// Seconds.
    pub code_lifetime: u64,
    states: BTreeMap<String, String>,
    /// The callbacks.
    pub cases: Vec<Case>,
}

impl Table {
    /// The lane of what a case posts.
    fn lane_of(&self, case: &Case) -> Option<u8> {
        case.posts
            .as_ref()
            .map(|line| u8::from(line.contains(&self.states["lane1"])))
    }
}

/// One callback and what is to come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The query, without its question mark.
    pub query: String,
    /// When it comes, in Unix seconds.
    pub at: i64,
    /// The line of the message.
    pub posts: Option<String>,
    /// Why nothing is posted.
    pub refusal: Option<String>,
    /// Which page a person sees.
    pub page: String,
    /// What the service says of the state, where it does not accept it.
    pub service: Option<String>,
    fill: Option<usize>,
}

/// What a sender made of a callback.
#[derive(Debug, PartialEq, Eq)]
pub struct Made {
    /// The posted message's content.
    pub message: Option<String>,
    /// Why nothing is posted.
    pub refusal: Option<String>,
    /// The lane it goes to, where the sender says.
    pub lane: Option<u8>,
    /// The page, where the sender has pages.
    pub page: Option<String>,
}

/// Something that turns callbacks into messages.
pub trait Sender {
    /// Its name, for failures.
    fn name(&self) -> &'static str;
    /// Gives it one callback.
    fn make(&mut self, table: &Table, case: &Case) -> Made;
}

/// The table, its placeholders filled in.
pub fn table() -> Table {
    let mut table: Table = serde_json::from_str(include_str!("../fixtures/callbacks.json")).expect("the table");
    for case in &mut table.cases {
        let fill = "A".repeat(case.fill.unwrap_or_default());
        case.query = filled(&case.query, &fill, &table.states);
        case.posts = case.posts.as_deref().map(|line| filled(line, &fill, &table.states));
        assert!(
            case.posts.is_some() != case.refusal.is_some(),
            "{}: one of the two",
            case.name
        );
        assert!(!case.query.contains('{'), "{}: a placeholder is left", case.name);
    }
    table
}

/// A text with its placeholders filled in.
fn filled(text: &str, fill: &str, states: &BTreeMap<String, String>) -> String {
    states.iter().fold(text.replace("{fill}", fill), |text, (name, state)| {
        text.replace(&format!("{{{name}}}"), state)
    })
}

/// What the service would have to be sent for this case.
fn expected(table: &Table, case: &Case) -> Option<String> {
    use base64::Engine as _;
    let signed = format!("<@{}>\n{}\n", table.bot, case.posts.as_ref()?);
    let mac = codeferry::intake::hash::hmac_sha256(&Key::new(table.key.as_bytes()), signed.as_bytes());
    let mac = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(mac);
    Some(format!("{signed}m1 {mac}"))
}

/// Every difference between the table and what a sender makes.
pub fn differences(sender: &mut dyn Sender) -> Vec<String> {
    let table = table();
    let mut wrong = Vec::new();
    for case in &table.cases {
        let made = sender.make(&table, case);
        let wanted = Made {
            message: expected(&table, case),
            refusal: case.refusal.clone(),
            lane: made.lane.and(table.lane_of(case)),
            page: made.page.as_ref().map(|_| case.page.clone()),
        };
        if made != wanted {
            wrong.push(format!("{}: {}: {made:?}, not {wanted:?}", sender.name(), case.name));
        }
    }
    wrong
}

#[test]
fn the_hookdeck_script_makes_of_every_callback_what_the_table_says() {
    let wrong = differences(&mut hookdeck::Script::new(
        &codeferry::relay::script::hookdeck(),
        &table(),
    ));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The Worker with its built-in pages.
fn worker_script() -> String {
    let pages = codeferry::front::pages::Pages::load(None, codeferry::front::face::Face::default()).expect("built in");
    codeferry::relay::script::worker(&pages).expect("a script")
}

#[test]
fn the_worker_makes_of_every_callback_what_the_table_says() {
    let wrong = differences(&mut worker::Script::new(&worker_script()));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_relays_rules_make_of_every_callback_what_the_table_says() {
    let wrong = differences(&mut relay::Rules);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_service_takes_every_message_of_the_table() {
    let table = table();
    let key = Key::new(table.key.as_bytes());
    let accept = Accept {
        v0: false,
        v1: Some((&key).into()),
    };
    let rules = StateRules {
        mode: StateMode::Signed,
        key: StateKey::new(&key),
        code_lifetime: Duration::from_secs(table.code_lifetime),
        purposes: 1,
        with_pkce: true,
    };
    let bot: UserId = table.bot.parse().expect("an id");
    let mut posted = 0;
    for case in &table.cases {
        let Some(message) = expected(&table, case) else {
            continue;
        };
        posted += 1;
        let parsed = message::parse(&message, bot, &accept).expect(&case.name);
        assert_eq!((parsed.entries.len(), parsed.malformed_lines), (1, 0), "{}", case.name);
        let entry = &parsed.entries[0];
        assert_eq!(
            entry.redirected_at,
            Some(Timestamp::from_secs(case.at)),
            "{}",
            case.name
        );
        let words: Vec<_> = case.posts.as_ref().expect("posted").split(' ').collect();
        let word = match &entry.result {
            Ok(code) => code.expose().to_owned(),
            Err(error) => format!("!{error}"),
        };
        assert_eq!(word, words[2], "{}", case.name);
        assert_eq!(case.page == "denied", entry.result.is_err(), "{}", case.name);
        let said = rules.interpret(entry.state.as_ref(), Timestamp::from_secs(case.at));
        let said = said.err().map(|(_, reason)| reason.to_string());
        assert_eq!(said, case.service, "{}", case.name);
    }
    assert!(posted > 20 && posted < table.cases.len(), "{posted}");
}
