//! What Discord sends: answers to an exchange, and payloads of the gateway.

use std::collections::BTreeSet;
use std::time::Duration;

use codeferry::discord::api_base::ApiBase;
use codeferry::discord::gateway::connection::Payload;
use codeferry::discord::gateway_event::note;
use codeferry::discord::token_endpoint::{HttpTokenEndpoint, TokenEndpointSettings};
use codeferry::ids::{ApplicationId, ChannelId};
use codeferry::port::discord::{ExchangeAnswer, GatewayNote};
use codeferry::secret::ClientSecret;
use rand::rngs::StdRng;
use reqwest::StatusCode;

use super::mutate::pick;
use super::run::{Target, silent};

const CHANNEL: u64 = 1_536_340_000_000_000_002;

pub fn token_answers() {
    let endpoint = HttpTokenEndpoint::new(&TokenEndpointSettings {
        api_base: ApiBase::parse("http://127.0.0.1:1/api/v10").expect("loopback"),
        application: ApplicationId(1_536_000_000_000_000_001),
        secret: ClientSecret::new("CANARY-secret"),
        redirect_uri: "https://hooks.example.net/oauth".to_owned(),
        exchange_timeout: Duration::from_secs(1),
        revoke_timeout: Duration::from_secs(1),
    })
    .expect("good settings");
    let corpus = [
        r#"{"token_type":"Bearer","access_token":"CANARY-token","expires_in":604800,"refresh_token":"CANARY-refresh","scope":"identify guilds","webhook":{"token":"CANARY","id":"1"},"guild":{"roles":[]}}"#,
        r#"{"access_token":"CANARY","scope":["identify","guilds"],"token_type":null}"#,
        r#"{"error":"invalid_grant","error_description":"Invalid \"code\" in request. CANARY"}"#,
        r#"{"message":"401: Unauthorized","code":0}"#,
        r#"{"error":"invalid_client"}"#,
        "<html><title>CANARY</title></html>",
    ];
    let statuses = [200, 201, 204, 400, 401, 403, 404].map(|s| StatusCode::from_u16(s).expect("a status"));
    let tries = |input: &[u8], random: &mut StdRng| {
        let status = *pick(&statuses, random);
        let answer = endpoint.read_exchange_answer(status, input);
        match answer {
            ExchangeAnswer::Token(token) => {
                // Scopes are no secret.
                silent(&format!("{:?}", token.access));
                assert!(status.is_success(), "{status}");
                assert!(!token.access.expose().is_empty());
                let scopes: usize = token.scopes.iter().map(String::len).sum();
                assert!(token.access.expose().len() + scopes <= 3 * input.len());
            }
            ExchangeAnswer::NotSent(_) | ExchangeAnswer::Later(_) => panic!("{status} was an answer: {answer:?}"),
            other => silent(&format!("{other:?}")),
        }
    };
    Target {
        test: "no_token_answer_harms_its_reader",
        name: "token response",
        corpus: corpus.map(|text| text.as_bytes().to_vec()).into(),
        share: 100,
        tries: &tries,
    }
    .run();
}

pub fn gateway_payloads() {
    let message = r#"{"type":0,"tts":false,"timestamp":"2026-08-10T12:00:04.000000+00:00","pinned":false,"mentions":[],"mention_roles":[],"mention_everyone":false,"id":"1536343372988416000","flags":4,"embeds":[],"edited_timestamp":null,"content":"CANARY","components":[],"channel_id":"1536340000000000002","guild_id":"1536340000000000001","author":{"username":"intake","id":"1536343300000000001","discriminator":"0000","bot":true,"avatar":null,"global_name":null},"attachments":[],"webhook_id":"1536343300000000001"}"#;
    let corpus = [
        format!(r#"{{"op":0,"s":7,"t":"MESSAGE_CREATE","d":{message}}}"#),
        r#"{"op":0,"s":8,"t":"MESSAGE_CREATE","d":{"id":1536343372988416000,"channel_id":1536340000000000002,"content":"CANARY"}}"#.to_owned(),
        r#"{"op":0,"s":1,"t":"READY","d":{"v":10,"user":{"id":"1"},"guilds":[],"session_id":"CANARY","resume_gateway_url":"wss://x"}}"#.to_owned(),
        r#"{"op":0,"s":null,"t":"RESUMED","d":{"_trace":["CANARY"]}}"#.to_owned(),
        r#"{"op":10,"d":{"heartbeat_interval":41250},"s":null,"t":null}"#.to_owned(),
        r#"{"op":9,"d":false,"s":null,"t":null}"#.to_owned(),
        r#"{"op":11,"d":null}"#.to_owned(),
    ];
    let watched = BTreeSet::from([ChannelId(CHANNEL)]);
    let tries = |input: &[u8], _: &mut StdRng| {
        let text = std::str::from_utf8(input).ok();
        let payload = text.and_then(Payload::read);
        if let Some((kind, data)) = payload.as_ref().and_then(Payload::event) {
            let Some(note) = note(kind, data, &watched) else { return };
            match &note {
                GatewayNote::Message(message) => {
                    assert_eq!(message.channel, ChannelId(CHANNEL));
                    assert!(message.content.len() <= input.len());
                    silent(&format!("{note:?}"));
                }
                GatewayNote::Unparsed(kind) => assert_eq!(kind, "MESSAGE_CREATE"),
                _ => {}
            }
        }
    };
    Target {
        test: "no_gateway_payload_harms_the_listener",
        name: "gateway payload",
        corpus: corpus.map(String::into_bytes).into(),
        share: 100,
        tries: &tries,
    }
    .run();
}
