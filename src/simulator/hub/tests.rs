//! The gateway without sockets: sessions, replay and blanking. Real clients are tried in the integration tests.

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::simulator::BotPermissions;
use crate::simulator::ids::{FIRST_LANE_CHANNEL, RESULT_CHANNEL};
use crate::simulator::options::{ApplicationOptions, SimulatorOptions};
use crate::simulator::world::World;

struct Bench {
    hub: Hub,
    world: World,
    out: UnboundedSender<Out>,
    received: UnboundedReceiver<Out>,
}

impl Bench {
    /// A bot with the token `good`, without content, that may not view the results.
    fn new() -> Self {
        let mut world = World::new(
            &SimulatorOptions {
                application: ApplicationOptions {
                    flags: 0,
                    bot_token: "good".into(),
                    ..ApplicationOptions::default()
                },
                ..SimulatorOptions::default()
            },
            1,
        );
        let blind = BotPermissions {
            view: false,
            ..BotPermissions::default()
        };
        assert!(world.permit(RESULT_CHANNEL, blind), "there is one");
        let (out, received) = unbounded_channel();
        Self {
            hub: Hub::new(
                GatewaySettings {
                    replay_events: 4,
                    ..GatewaySettings::default()
                },
                "ws://127.0.0.1:1/".to_owned(),
            ),
            world,
            out,
            received,
        }
    }

    fn identify(&mut self, d: &Value) -> (u64, Result<(), Out>) {
        let id = self.hub.connect(self.out.clone());
        (id, self.hub.identify(&self.world, id, &self.out, d))
    }

    fn resume(&mut self, connection: u64, d: &Value) -> Result<(), Out> {
        self.hub.resume(&self.world, connection, &self.out, d)
    }

    fn publish(&mut self, dispatch: &Dispatch) {
        self.hub.publish(&self.world, dispatch);
    }

    fn frames(&mut self) -> Vec<Value> {
        let mut frames = Vec::new();
        while let Ok(Out::Text(text)) = self.received.try_recv() {
            frames.push(serde_json::from_str(&text).expect("JSON"));
        }
        frames
    }
}

fn message(channel: u64, mentioned: Option<u64>) -> Dispatch {
    let mentions: Vec<_> = mentioned.iter().map(|id| json!({ "id": id.to_string() })).collect();
    let data = json!({ "channel_id": channel.to_string(), "guild_id": "5", "content": "hello", "mentions": mentions, "author": { "id": "7" } });
    Dispatch {
        kind: "MESSAGE_CREATE",
        data,
        intents: 512,
    }
}

#[test]
fn wrong_tokens_and_intents_are_closed_with_their_codes() {
    let check = |d: Value, want: u16| {
        let (_, got) = Bench::new().identify(&d);
        assert!(
            matches!(got, Err(Out::Close(Some(code))) if code == want),
            "{d}: {got:?}"
        );
    };
    check(json!({ "token": "bad", "intents": 513 }), 4004);
    check(json!({ "token": "Bot good" }), 4013);
    check(json!({ "token": "good", "intents": 1_u64 << 40 }), 4013);
    check(json!({ "token": "good", "intents": 512 | 1 << 15 }), 4014);
    check(json!({ "token": "good", "intents": 2 }), 4014);
}

#[test]
fn content_comes_only_with_a_mention_and_hidden_channels_say_nothing() {
    let mut bench = Bench::new();
    let me = Some(bench.world.application.bot_id);
    let (_, begun) = bench.identify(&json!({ "token": "Bot good", "intents": 513 }));
    begun.expect("identifies");
    let [ready, guild] = bench.frames().try_into().expect("two events");
    assert_eq!((&ready["t"], &guild["t"]), (&json!("READY"), &json!("GUILD_CREATE")));
    assert_eq!(ready["d"]["user"]["id"], "1536000000000000009");
    assert_eq!(guild["d"]["channels"].as_array().map(Vec::len), Some(2));
    serde_json::from_value::<twilight_model::guild::Guild>(guild["d"].clone()).expect("a client parses it");
    bench.publish(&message(FIRST_LANE_CHANNEL, None));
    bench.publish(&message(FIRST_LANE_CHANNEL, me));
    bench.publish(&message(RESULT_CHANNEL, me));
    bench.publish(&message(5, me));
    bench.publish(&Dispatch {
        intents: 4096,
        ..message(FIRST_LANE_CHANNEL, None)
    });
    let contents: Vec<_> = bench.frames().iter().map(|f| f["d"]["content"].clone()).collect();
    assert_eq!(contents, [json!(""), json!("hello")]);
}

#[test]
fn a_resumed_session_gets_what_it_missed_and_an_overrun_one_does_not() {
    let mut bench = Bench::new();
    let (id, begun) = bench.identify(&json!({ "token": "good", "intents": 512 }));
    begun.expect("identifies");
    let session = bench.frames()[0]["d"]["session_id"].clone();
    bench.hub.disconnect(id, false);
    let plain = message(FIRST_LANE_CHANNEL, None);
    bench.publish(&plain);
    bench.hub.fault(GatewayFault::Withhold { count: 1 });
    bench.publish(&plain);
    bench.publish(&plain);
    let again = bench.hub.connect(bench.out.clone());
    let resume = json!({ "token": "good", "session_id": session, "seq": 1 });
    bench.resume(again, &resume).expect("resumes");
    let replayed: Vec<_> = bench
        .frames()
        .iter()
        .map(|f| (f["s"].clone(), f["t"].clone()))
        .collect();
    let message_create = json!("MESSAGE_CREATE");
    assert_eq!(
        replayed,
        [
            (json!(2), message_create.clone()),
            (json!(3), message_create),
            (json!(4), json!("RESUMED"))
        ]
    );
    for _ in 0..9 {
        bench.publish(&plain);
    }
    assert!(matches!(bench.resume(again, &resume), Err(Out::Text(t)) if t.contains("\"op\":9")));
    let ahead = json!({ "token": "good", "session_id": session, "seq": 999 });
    assert!(matches!(bench.resume(again, &ahead), Err(Out::Close(Some(4007)))));
}
