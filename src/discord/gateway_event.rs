//! What the gateway's events mean to the listener. serenity parses too much of a message and loses it when any field
//! surprises it; here the four fields that matter are read, from whichever form the event came in.

use std::collections::BTreeSet;

use serenity::model::event::Event;

use super::bot;
use crate::ids::{ChannelId, MessageId, WebhookId};
use crate::steps::port::{ChannelMessage, GatewayNote};

/// The note that an event is worth; `None` for everything outside the watched channels.
pub fn note(event: Event, watched: &BTreeSet<ChannelId>) -> Option<GatewayNote> {
    match event {
        Event::Ready(_) => Some(GatewayNote::Ready),
        Event::Resumed(_) => Some(GatewayNote::Resumed),
        Event::MessageCreate(event) => {
            let message = ChannelMessage {
                id: MessageId(event.message.id.get()),
                channel: ChannelId(event.message.channel_id.get()),
                webhook: event.message.webhook_id.map(|id| WebhookId(id.get())),
                content: event.message.content,
            };
            passing(message, watched)
        }
        Event::Unknown(event) => match event.kind.as_str() {
            "READY" => Some(GatewayNote::Ready),
            "RESUMED" => Some(GatewayNote::Resumed),
            "MESSAGE_CREATE" => match bot::message(&event.value, None) {
                Some(message) => passing(message, watched),
                None => Some(GatewayNote::Unparsed(event.kind)),
            },
            _ => None,
        },
        _ => None,
    }
}

fn passing(message: ChannelMessage, watched: &BTreeSet<ChannelId>) -> Option<GatewayNote> {
    watched
        .contains(&message.channel)
        .then_some(GatewayNote::Message(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: u64 = 1_536_340_000_000_000_002;

    fn read(kind: &str, data: &str) -> Option<GatewayNote> {
        let event = serde_json::from_str(&format!(r#"{{"t":"{kind}","d":{data}}}"#)).expect("an event");
        note(event, &BTreeSet::from([ChannelId(CHANNEL)]))
    }

    const WHOLE: &str = r#"{"type":0,"tts":false,"timestamp":"2026-08-10T12:00:04.000000+00:00","pinned":false,
        "mentions":[],"mention_roles":[],"mention_everyone":false,"id":"1536343372988416000","flags":4,"embeds":[],
        "edited_timestamp":null,"content":"hello","components":[],"channel_type":0,
        "channel_id":"1536340000000000002","guild_id":"1536340000000000001",
        "author":{"username":"intake","id":"1536343300000000001","discriminator":"0000","bot":true,"avatar":null,
        "global_name":null},"attachments":[],"webhook_id":"1536343300000000001","application_id":"1536000000000000001"}"#;

    #[track_caller]
    fn check_message(data: &str, webhook: Option<u64>, content: &str) {
        let Some(GatewayNote::Message(message)) = read("MESSAGE_CREATE", data) else {
            panic!("no message from {data}");
        };
        assert_eq!(message.id, MessageId(1_536_343_372_988_416_000));
        assert_eq!(message.channel, ChannelId(CHANNEL));
        assert_eq!(message.webhook, webhook.map(WebhookId));
        assert_eq!(message.content, content);
    }

    #[test]
    fn a_message_is_read_whatever_surprises_are_in_its_other_fields() {
        let webhook = Some(1_536_343_300_000_000_001);
        check_message(WHOLE, webhook, "hello");
        for (from, to) in [
            (r#""type":0"#, r#""type":"new kind""#),
            (r#""embeds":[]"#, r#""embeds":{"changed":true}"#),
            (r#""timestamp":"2026-08-10T12:00:04.000000+00:00""#, r#""timestamp":17"#),
            (r#""mentions":[]"#, r#""mentions":null"#),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            check_message(&WHOLE.replace(from, to), webhook, "hello");
        }
        check_message(
            r#"{"id":"1536343372988416000","channel_id":"1536340000000000002"}"#,
            None,
            "",
        );
        check_message(
            r#"{"id":1536343372988416000,"channel_id":1536340000000000002,"webhook_id":null,"content":null}"#,
            None,
            "",
        );
    }

    #[test]
    fn only_watched_channels_pass() {
        assert!(read("MESSAGE_CREATE", &WHOLE.replace("0002\"", "0003\"")).is_none());
        assert!(read("MESSAGE_UPDATE", WHOLE).is_none());
        assert!(read("SOMETHING_NEW", "{}").is_none());
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_content() {
        for data in [
            r#"{"content":"CANARY"}"#,
            r#"{"id":"x","content":"CANARY"}"#,
            r#""CANARY""#,
            "null",
        ] {
            let Some(GatewayNote::Unparsed(kind)) = read("MESSAGE_CREATE", data) else {
                panic!("{data} was read");
            };
            assert_eq!(kind, "MESSAGE_CREATE");
        }
    }

    #[test]
    fn a_session_is_noticed_even_where_serenity_cannot_read_it() {
        assert!(matches!(read("READY", r#"{"odd":1}"#), Some(GatewayNote::Ready)));
        assert!(matches!(
            read("RESUMED", r#"{"_trace":[]}"#),
            Some(GatewayNote::Resumed)
        ));
    }
}
