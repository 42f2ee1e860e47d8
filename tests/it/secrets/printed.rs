//! Everything that holds a secret, printed as a panic or an error would print it.

use std::collections::BTreeMap;
use std::sync::Arc;

use codeferry::config::{self, Environment, Locator, Secrets};
use codeferry::discord::api_base::ApiBase;
use codeferry::discord::bot::BotSettings;
use codeferry::discord::gateway::GatewaySettings;
use codeferry::discord::token_endpoint::TokenEndpointSettings;
use codeferry::grant::state::Token;
use codeferry::grant::{Event, State};
use codeferry::ids::{ApplicationId, ChannelId, UserId, WebhookId};
use codeferry::intake::entry::{Entry, Parsed};
use codeferry::intake::message::Accept;
use codeferry::intake::state::StateKey;
use codeferry::port::discord::{Answered, ChannelMessage, ExchangeAnswer, FetchAnswer, GatewayNote};
use codeferry::secret::{
    AccessToken, AuthorizationCode, BotToken, CallbackSecret, ClientSecret, CodeVerifier, ControlToken, Key,
    PersonalData, RawState, WebhookToken,
};
use codeferry::store::Change;

use super::grep::Needles;
use crate::store::test_support;
use crate::tally::{Tally, tell};

const SECRET: &str = "qX7-CANARY_Zk90vB.0123456789abcdef";

fn base() -> ApiBase {
    ApiBase::parse("https://discord.com/api/v10").expect("a base")
}

fn token() -> Token {
    Token {
        access: AccessToken::new(SECRET),
        scopes: vec!["identify".to_owned()],
    }
}

/// Every kind of value that holds a secret, as `Debug` has it.
fn shown() -> Vec<String> {
    let key = Key::new(SECRET.as_bytes());
    let mut received = test_support::grant(1);
    received.requested.raw = Some(RawState::new(SECRET));
    let State::Received { code, .. } = &mut received.state else {
        unreachable!("it was just received");
    };
    *code = AuthorizationCode::new(SECRET);
    let mut settling = test_support::settling(2, 10);
    settling.requested.raw = Some(RawState::new(SECRET));
    let message = ChannelMessage {
        id: test_support::message(1),
        channel: test_support::CHANNEL,
        webhook: Some(WebhookId(5)),
        content: SECRET.to_owned(),
    };
    let tokens = BTreeMap::from([(WebhookId(5), WebhookToken::new(SECRET))]);
    let variables: Environment = [("CODEFERRY_BOT_TOKEN", SECRET), ("CODEFERRY_CLIENT_SECRET", SECRET)].into();
    vec![
        format!("{:?}", AuthorizationCode::new(SECRET)),
        format!("{:?}", RawState::new(SECRET)),
        format!("{:?}", CodeVerifier::new(SECRET)),
        format!("{:?}", ControlToken::new(SECRET)),
        format!("{:?}", CallbackSecret::new(SECRET)),
        format!("{key:?} {:?}", StateKey::new(&key)),
        format!("{:?}", PersonalData::new(SECRET)),
        format!("{:?}", token()),
        format!("{received:?} {received:#?}"),
        format!("{settling:?}"),
        format!("{:?}", Event::Exchanged(token())),
        format!("{:?}", Change::PutGrant(Arc::new(received.clone()))),
        format!(
            "{:?}",
            Change::PutData {
                grant: received.id,
                data: PersonalData::new(SECRET)
            }
        ),
        format!("{:?}", ExchangeAnswer::Token(token())),
        format!(
            "{:?}",
            Answered {
                outcome: ExchangeAnswer::Token(token()),
                feedback: None
            }
        ),
        format!(
            "{:?}",
            FetchAnswer::Data {
                json: PersonalData::new(SECRET),
                user: None
            }
        ),
        format!("{:?}", GatewayNote::Message(message.clone())),
        format!("{message:?}"),
        format!(
            "{:?}",
            Accept {
                v0: true,
                v1: Some((&key).into())
            }
        ),
        format!(
            "{:?}",
            Parsed {
                entries: vec![Entry {
                    redirected_at: None,
                    result: Ok(AuthorizationCode::new(SECRET)),
                    state: Some(RawState::new(SECRET)),
                }],
                malformed_lines: 0,
            }
        ),
        format!(
            "{:?}",
            BotSettings {
                api_base: base(),
                token: BotToken::new(SECRET),
                webhook_tokens: tokens,
                timeout: std::time::Duration::from_secs(1),
            }
        ),
        format!(
            "{:?}",
            GatewaySettings {
                token: BotToken::new(SECRET),
                channels: [ChannelId(7)].into(),
                message_content: true,
                commands: None,
            }
        ),
        format!(
            "{:?}",
            TokenEndpointSettings {
                api_base: base(),
                application: ApplicationId(7),
                secret: ClientSecret::new(SECRET),
                redirect_uri: "https://hooks.example.net/".to_owned(),
                exchange_timeout: std::time::Duration::from_secs(1),
                revoke_timeout: std::time::Duration::from_secs(1),
            }
        ),
        format!("{variables:?}"),
        format!("{:?}", loaded()),
    ]
}

fn loaded() -> Secrets {
    let mut variables = vec![(
        "CODEFERRY_WEBHOOK_TOKENS".to_owned(),
        format!("1536000000000000005:{SECRET}"),
    )];
    for name in [
        "BOT_TOKEN",
        "CLIENT_SECRET",
        "RELAY_KEY",
        "STATE_KEY",
        "PKCE_KEY",
        "CONTROL_TOKEN",
    ] {
        variables.push((format!("CODEFERRY_{name}"), format!("{name}-{SECRET}")));
    }
    let environment: Environment = variables.into_iter().collect();
    let locator = Locator {
        config: Some("config/example.toml".into()),
        environment,
        folder: env!("CARGO_MANIFEST_DIR").into(),
    };
    config::load(&locator).expect("every secret is given").1
}

#[test]
fn nothing_that_holds_a_secret_prints_it() {
    let mut needles = Needles::default();
    needles.add("the secret", SECRET);
    let mut tally = Tally::default();
    for shown in shown() {
        tally.tried += 1;
        needles.absent_from(&shown, shown.as_bytes());
        tally.survived += 1;
    }
    assert!(tally.tried > 20);
    // The check sees it where it is let out.
    assert!(
        !needles
            .found_in(format!("{:?}", UserId(7)).replace('7', SECRET).as_bytes())
            .is_empty()
    );
    tell("secrets: printed values", tally);
}
