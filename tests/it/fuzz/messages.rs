//! Source messages of both versions, and the states in them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use codeferry::actors::listener::WatchedLane;
use codeferry::actors::listener::gatekeeper::{Admission, Gatekeeper};
use codeferry::grant::Reason;
use codeferry::ids::{ChannelId, Lane, MessageId, UserId, WebhookId};
use codeferry::intake::entry::{is_code, is_state};
use codeferry::intake::hash::hmac_sha256;
use codeferry::intake::message::{Accept, parse};
use codeferry::intake::state::{StateKey, StateMode, StateRules, StateToken};
use codeferry::intake::v0;
use codeferry::intake::v1::{self, Redirect};
use codeferry::port::discord::ChannelMessage;
use codeferry::secret::{Key, RawState};
use codeferry::time::Timestamp;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::run::{Target, silent};

const BOT: UserId = UserId(1_536_000_000_000_000_009);
const CHANNEL: ChannelId = ChannelId(1_536_340_000_000_000_002);
const WEBHOOK: WebhookId = WebhookId(1_536_343_300_000_000_001);
const CODE: &str = "CANARYCANARYCANARYCANARYCANARY";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_100);

fn key() -> Key {
    Key::new(*b"0123456789abcdef0123456789abcdef")
}

fn token() -> StateToken {
    StateToken {
        user: UserId(80_000_000_000_000_001),
        expires_at: Timestamp::from_secs(1_700_000_300),
        lane: Lane(0),
        purpose: 0,
        pkce: true,
        again: false,
        nonce: [0, 1, 2, 3, 4, 5, 6, 7],
    }
}

fn rules(mode: StateMode) -> StateRules {
    StateRules {
        mode,
        key: StateKey::new(&key()),
        code_lifetime: Duration::from_secs(100),
        purposes: 2,
        with_pkce: true,
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let state = StateKey::new(&key()).mint(&token());
    let redirect = |result: Result<&str, &str>, state: Option<&str>| Redirect {
        time: 1_700_000_000,
        result: result.map(str::to_owned).map_err(str::to_owned),
        state: state.map(str::to_owned),
    };
    let one = redirect(Ok(CODE), Some(&state));
    let denied = redirect(Err("access_denied"), Some("a%2Fb%25"));
    let bare = redirect(Ok("%43ANARYCANARYCANARY"), None);
    let quoted =
        format!("<@!{BOT}> {{\"error\":\"access_denied\",\"state\":\"80000000000000001\",\"time\":\"1700000000.5\"}}");
    [
        v1::encode(BOT, std::slice::from_ref(&one), &key()),
        v1::encode(BOT, &[one.clone(), denied, bare], &key()),
        v1::encode(BOT, &vec![one; 18], &key()),
        v0::encode(BOT, CODE, Some(&state), 1_700_000_000),
        v0::encode(BOT, CODE, None, 1_700_000_000_000),
        quoted,
    ]
    .map(String::into_bytes)
    .into()
}

/// Signs what stands before the last line again: the parser only sees messages with a valid MAC.
fn signed(text: &str) -> String {
    let lines = text.rsplit_once('\n').map_or(text, |(lines, _)| lines);
    let mac = hmac_sha256(&key(), format!("{lines}\n").as_bytes());
    format!("{lines}\nm1 {}", URL_SAFE_NO_PAD.encode(mac))
}

pub fn messages() {
    let accept = Accept {
        v0: true,
        v1: Some((&key()).into()),
    };
    let lane = WatchedLane {
        lane: Lane(0),
        channel: CHANNEL,
        webhook: WEBHOOK,
    };
    let modes = [StateMode::Signed, StateMode::UserId, StateMode::Any];
    let keepers = modes.map(|mode| Gatekeeper::new(&[lane], BOT, accept.clone(), rules(mode), key()));
    let tries = |input: &[u8], random: &mut StdRng| {
        let mut text = String::from_utf8_lossy(input).into_owned();
        if random.random_bool(0.5) {
            text = signed(&text);
        }
        let parsed = parse(&text, BOT, &accept);
        silent(&format!("{parsed:?}"));
        match &parsed {
            Err(error) => silent(&error.to_string()),
            Ok(parsed) => {
                assert!(!parsed.entries.is_empty());
                assert!(parsed.entries.len() + parsed.malformed_lines <= text.lines().count());
                for entry in &parsed.entries {
                    assert!(entry.result.as_ref().map_or(true, |code| is_code(code.expose())));
                    assert!(entry.state.as_ref().is_none_or(|state| is_state(state.expose())));
                }
            }
        }
        let message = ChannelMessage {
            id: MessageId(1_536_343_372_988_416_000),
            channel: CHANNEL,
            webhook: Some(WEBHOOK),
            content: text,
        };
        silent(&format!("{message:?}"));
        for keeper in &keepers {
            let Admission::Carried { carried, .. } = keeper.admit(&message, NOW) else {
                assert!(message.content.is_empty());
                continue;
            };
            assert_eq!(carried.redirects.len(), parsed.as_ref().map_or(0, |p| p.entries.len()));
        }
    };
    Target {
        test: "no_message_harms_the_parser",
        name: "message parser",
        corpus: corpus(),
        share: 100,
        tries: &tries,
    }
    .run();
}

pub fn states() {
    let states = StateKey::new(&key());
    let good = states.mint(&token());
    let corpus = vec![
        good.clone().into_bytes(),
        b"80000000000000001".to_vec(),
        good.replace('.', "..").into_bytes(),
    ];
    let modes = [StateMode::Signed, StateMode::UserId, StateMode::Any].map(rules);
    let tries = |input: &[u8], random: &mut StdRng| {
        let mut text = String::from_utf8_lossy(input).into_owned();
        if random.random_bool(0.5) {
            // Any body, signed: behind the MAC is where it is taken apart.
            let body: [u8; 23] = random.random();
            let mac = hmac_sha256(&key(), &body);
            text = format!(
                "s1.{}.{}",
                URL_SAFE_NO_PAD.encode(body),
                URL_SAFE_NO_PAD.encode(&mac[..16])
            );
            let token = states.open(&text).expect("it is well signed");
            let again = states.open(&states.mint(&token)).expect("what is minted opens");
            assert_eq!(again, token);
        }
        if let Err(error) = states.open(&text) {
            silent(&format!("{error} {error:?}"));
        }
        let raw = RawState::new(text);
        let now = Timestamp::from_millis(*super::mutate::pick(
            &[0, i64::MIN, i64::MAX, 1_700_000_100_000],
            random,
        ));
        for rules in &modes {
            for raw in [Some(&raw), None] {
                match rules.interpret(raw, now) {
                    Ok(requested) => silent(&format!("{requested:?}")),
                    Err((requested, reason)) => {
                        silent(&format!("{requested:?} {reason}"));
                        assert_ne!(reason, Reason::new("other"));
                    }
                }
            }
        }
    };
    Target {
        test: "no_state_harms_its_reader",
        name: "state token",
        corpus,
        share: 100,
        tries: &tries,
    }
    .run();
}
