use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::ids::MessageId;
use crate::simulator::faults::FaultRule;
use crate::simulator::hub::Out;
use crate::simulator::ids::FIRST_LANE_CHANNEL;

/// A state with a session of the bot, and what it leaves for later.
struct Bench {
    state: State,
    session: UnboundedReceiver<Out>,
    later: UnboundedReceiver<Later>,
}

impl Bench {
    fn new() -> Self {
        let (later, queue) = unbounded_channel();
        let (out, session) = unbounded_channel();
        let state = State::new(SimulatorOptions::default(), 1, 1, later);
        state.act(|inner, _| {
            let id = inner.hub.connect(out.clone());
            let d = json!({"token": inner.world.application.bot_token, "intents": intent::GUILD_MESSAGES});
            inner.hub.identify(&inner.world, id, &out, &d).expect("the bot");
        });
        let mut bench = Self {
            state,
            session,
            later: queue,
        };
        assert_eq!(bench.events()[0]["t"], "READY");
        bench
    }

    fn events(&mut self) -> Vec<Value> {
        let text = |out| match out {
            Out::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| self.session.try_recv().ok()).map(text).collect()
    }

    fn post(&mut self, content: &str) -> (Vec<Value>, Vec<Later>) {
        let author = Author::User(OTHER_BOT_ID);
        self.state
            .act(|inner, now_us| inner.post(FIRST_LANE_CHANNEL, author, Draft::text(content), now_us));
        (
            self.events(),
            std::iter::from_fn(|| self.later.try_recv().ok()).collect(),
        )
    }
}

#[test]
fn the_gateway_may_bring_a_message_twice_late_or_never_but_history_has_it() {
    let mut bench = Bench::new();
    let cases = [
        (None, 1, 0),
        (Some(Fault::DeliverTwice), 2, 0),
        (Some(Fault::DeliverLate { ms: 5 }), 0, 1),
        (Some(Fault::DeliverNever), 0, 0),
    ];
    for (fault, now, later) in cases.clone() {
        if let Some(fault) = fault {
            let rule = FaultRule::on(Endpoint::Webhook, fault).times(1);
            bench.state.act(|inner, now_us| inner.faults.add(rule, now_us));
        }
        let (events, late) = bench.post("x");
        assert_eq!((events.len(), late.len()), (now, later));
    }
    let inner = bench.state.lock();
    assert_eq!(inner.world.channels[&FIRST_LANE_CHANNEL].messages.len(), cases.len());
}

#[test]
fn an_event_carries_what_rest_leaves_out() {
    let mut bench = Bench::new();
    let (events, _) = bench.post("<@1536000000000000009> hello");
    assert_eq!(events[0]["t"], "MESSAGE_CREATE");
    let data = &events[0]["d"];
    assert_eq!(data["guild_id"], "1536340000000000001");
    assert_eq!(data["channel_type"], 0);
    assert!(data["member"].is_object() && data["mentions"][0]["member"].is_object());
    serde_json::from_value::<twilight_model::channel::Message>(data.clone()).expect("a client parses it");
    let id: u64 = data["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let age = bench.state.now_us() / 1_000 - MessageId(id).created_at().as_millis();
    assert!((0..1_000).contains(&age), "{age}");
}

#[test]
fn a_link_is_fetched_and_an_embed_follows_unless_suppressed() {
    let mut bench = Bench::new();
    let (_, later) = bench.post("see https://example.org/x?y");
    let (link, update) = (later[0].link.as_deref(), &later[0].dispatch);
    assert_eq!((link, update.kind), (Some("https://example.org/x?y"), "MESSAGE_UPDATE"));
    assert_eq!(update.data["embeds"][0]["url"], "https://example.org/x?y");
    assert!(bench.post("v1 1700000000 ABC -").1.is_empty());
}
