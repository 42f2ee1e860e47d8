use std::sync::Arc;

use super::*;
use crate::ids::MessageId;
use crate::simulator::directory::StateDirectory;
use crate::simulator::faults::FaultRule;
use crate::simulator::gateway::Directory as _;
use crate::simulator::ids::FIRST_LANE_CHANNEL;

fn state() -> Arc<State> {
    let (later, _) = tokio::sync::mpsc::unbounded_channel();
    Arc::new(State::new(SimulatorOptions::default(), 1, 1, later))
}

fn post(state: &State, content: &str) -> Effects {
    let mut inner = state.lock();
    let author = Author::User(OTHER_BOT_ID);
    inner.post(FIRST_LANE_CHANNEL, author, Draft::text(content), state.now_us());
    std::mem::take(&mut inner.effects)
}

#[test]
fn the_gateway_may_bring_a_message_twice_late_or_never_but_history_has_it() {
    let state = state();
    let cases = [
        (None, 1, 0),
        (Some(Fault::DeliverTwice), 2, 0),
        (Some(Fault::DeliverLate { ms: 5 }), 0, 1),
        (Some(Fault::DeliverNever), 0, 0),
    ];
    for (fault, now, later) in cases.clone() {
        if let Some(fault) = fault {
            state
                .lock()
                .faults
                .add(FaultRule::on(Endpoint::Webhook, fault).times(1), state.now_us());
        }
        let effects = post(&state, "x");
        assert_eq!((effects.dispatches.len(), effects.late.len()), (now, later));
    }
    let inner = state.lock();
    assert_eq!(inner.world.channels[&FIRST_LANE_CHANNEL].messages.len(), cases.len());
}

#[test]
fn an_event_carries_what_rest_leaves_out() {
    let state = state();
    let effects = post(&state, "<@1536000000000000009> hello");
    let event = &effects.dispatches[0];
    assert_eq!((event.kind, event.intents), ("MESSAGE_CREATE", intent::GUILD_MESSAGES));
    assert_eq!(event.data["guild_id"], "1536340000000000001");
    assert_eq!(event.data["channel_type"], 0);
    assert!(event.data["member"].is_object() && event.data["mentions"][0]["member"].is_object());
    serde_json::from_value::<serenity::model::channel::Message>(event.data.clone()).expect("a client parses it");
    let id: u64 = event.data["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let age = state.now_us() / 1_000 - MessageId(id).created_at().as_millis();
    assert!((0..1_000).contains(&age), "{age}");
}

#[test]
fn a_link_is_fetched_and_an_embed_follows_unless_suppressed() {
    let state = state();
    let (link, update) = post(&state, "see https://example.org/x?y").crawl.expect("a crawl");
    assert_eq!(
        (link.as_str(), update.kind),
        ("https://example.org/x?y", "MESSAGE_UPDATE")
    );
    assert_eq!(update.data["embeds"][0]["url"], "https://example.org/x?y");
    assert!(post(&state, "v1 1700000000 ABC -").crawl.is_none());
}

#[test]
fn the_gateway_knows_the_bot_by_its_token_alone() {
    let state = state();
    let directory = StateDirectory::of(&state);
    let token = state.lock().world.application.bot_token.clone();
    let identity = directory.bot(&token).expect("the bot");
    assert_eq!(identity.user["id"], "1536000000000000009");
    assert_eq!(identity.guilds[0]["channels"].as_array().map(Vec::len), Some(2));
    serde_json::from_value::<serenity::model::guild::Guild>(identity.guilds[0].clone()).expect("a client parses it");
    assert!(directory.bot("wrong").is_none());
    assert!(directory.may_view(FIRST_LANE_CHANNEL) && !directory.may_view(5));
}
