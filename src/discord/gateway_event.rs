//! What the gateway's events mean to the listener. Of each event the few fields that matter are read, each as it came:
//! an odd one hides no other.

use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::value::RawValue;

use super::bot;
use crate::ids::{ChannelId, InteractionId, UserId};
use crate::port::contact::{CommandUse, PURPOSE};
use crate::port::discord::{ChannelMessage, GatewayNote};
use crate::secret::InteractionToken;

/// The note that an event is worth; `None` for everything outside the watched channels.
pub fn note(kind: &str, data: &RawValue, watched: &BTreeSet<ChannelId>) -> Option<GatewayNote> {
    match kind {
        "READY" => Some(GatewayNote::Ready),
        "RESUMED" => Some(GatewayNote::Resumed),
        "MESSAGE_CREATE" => match bot::message(data, None) {
            Some(message) => passing(message, watched),
            None => Some(GatewayNote::Unparsed(kind.to_owned())),
        },
        _ => None,
    }
}

/// The use of a slash command that an event tells of. Buttons, forms, suggestions and the commands of context menus are
/// no slash commands.
pub fn command_use(kind: &str, data: &RawValue) -> Option<CommandUse> {
    const APPLICATION_COMMAND: u64 = 2;
    const CHAT_INPUT: u64 = 1;
    if kind != "INTERACTION_CREATE" {
        return None;
    }
    let value: Value = serde_json::from_str(data.get()).ok()?;
    let number = |value: &Value| value.as_u64();
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    if value.get("type").and_then(number) != Some(APPLICATION_COMMAND) {
        return None;
    }
    let data = value.get("data")?;
    if data.get("type").and_then(number) != Some(CHAT_INPUT) {
        return None;
    }
    let user = value.pointer("/member/user").or_else(|| value.get("user"))?;
    let options = data.get("options").and_then(Value::as_array);
    let chosen = options.into_iter().flatten().find(|o| o["name"] == PURPOSE);
    Some(CommandUse {
        id: InteractionId(bot::id_of(value.get("id"))?),
        command: data.get("name").and_then(text)?,
        purpose: chosen.and_then(|o| o.get("value")).and_then(text),
        person: UserId(bot::id_of(user.get("id"))?),
        locale: value.get("locale").and_then(text).unwrap_or_default(),
        token: InteractionToken::new(value.get("token").and_then(Value::as_str)?),
    })
}

fn passing(message: ChannelMessage, watched: &BTreeSet<ChannelId>) -> Option<GatewayNote> {
    watched
        .contains(&message.channel)
        .then_some(GatewayNote::Message(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MessageId, WebhookId};

    const CHANNEL: u64 = 1_536_340_000_000_000_002;

    fn raw(data: &str) -> Box<RawValue> {
        RawValue::from_string(data.to_owned()).expect("JSON")
    }

    fn read(kind: &str, data: &str) -> Option<GatewayNote> {
        note(kind, &raw(data), &BTreeSet::from([ChannelId(CHANNEL)]))
    }

    const USED: &str = r#"{"id":"1536343372988416001","application_id":"1536000000000000001","type":2,"token":"CANARY",
        "version":1,"locale":"de","guild_id":"1536340000000000001","guild_locale":"en-US","channel_id":"1536340000000000002",
        "channel":{"id":"1536340000000000002","type":0},"context":0,"authorizing_integration_owners":{"0":"1536340000000000001"},
        "app_permissions":"0","entitlements":[],"attachment_size_limit":10485760,
        "data":{"id":"1536343372988416002","name":"connect","type":1},
        "member":{"user":{"id":"80000000000000001","username":"ada","discriminator":"0","global_name":null,"avatar":null},
            "roles":[],"joined_at":"2026-08-01T09:00:00.000000+00:00","mute":false,"deaf":false,"flags":0,"permissions":"0"}}"#;

    #[track_caller]
    fn check_use(data: &str, person: u64, locale: &str) {
        let used = command_use("INTERACTION_CREATE", &raw(data)).unwrap_or_else(|| panic!("no command in {data}"));
        assert_eq!(
            (used.id, used.person),
            (InteractionId(1_536_343_372_988_416_001), UserId(person))
        );
        assert_eq!((used.command.as_str(), used.locale.as_str()), ("connect", locale));
        let chosen = data.contains("\"options\"").then_some("linked-role");
        assert_eq!(used.purpose.as_deref(), chosen, "{data}");
        assert_eq!(used.token.expose(), "CANARY");
        assert!(!format!("{used:?}").contains("CANARY"));
    }

    #[test]
    fn a_command_is_read_in_a_guild_and_in_a_direct_message_whatever_else_is_told() {
        check_use(USED, 80_000_000_000_000_001, "de");
        let chosen = USED.replace(
            r#""name":"connect","type":1"#,
            r#""name":"connect","type":1,"options":[{"name":"other","type":4,"value":7},{"name":"purpose","type":3,"value":"linked-role"}]"#,
        );
        assert_ne!(chosen, USED);
        check_use(&chosen, 80_000_000_000_000_001, "de");
        check_use(
            &chosen.replace(r#""entitlements":[]"#, r#""entitlements":7"#),
            80_000_000_000_000_001,
            "de",
        );
        for (from, to) in [
            (r#""entitlements":[]"#, r#""entitlements":7"#),
            (r#""app_permissions":"0""#, r#""app_permissions":[]"#),
            (r#""channel":{"id":"1536340000000000002","type":0}"#, r#""channel":7"#),
        ] {
            assert!(USED.contains(from), "{from}");
            check_use(&USED.replace(from, to), 80_000_000_000_000_001, "de");
        }
        check_use(
            r#"{"id":"1536343372988416001","type":2,"token":"CANARY","data":{"name":"connect","type":1},
                "user":{"id":"80000000000000002"}}"#,
            80_000_000_000_000_002,
            "",
        );
    }

    #[test]
    fn what_is_no_slash_command_is_none() {
        for (from, to) in [
            (r#""type":2,"token""#, r#""type":3,"token""#),
            (r#""type":2,"token""#, r#""type":4,"token""#),
            (r#""name":"connect","type":1"#, r#""name":"connect","type":2"#),
            (r#""token":"CANARY","#, ""),
            (r#""name":"connect","#, ""),
            (r#""user":{"id":"80000000000000001","#, r#""user":{"id":"x","#),
        ] {
            assert!(USED.contains(from), "{from}");
            let data = USED.replace(from, to);
            assert!(
                command_use("INTERACTION_CREATE", &raw(&data)).is_none(),
                "{from} as {to}"
            );
        }
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
    fn a_session_is_noticed_whatever_else_the_event_says() {
        assert!(matches!(read("READY", r#"{"odd":1}"#), Some(GatewayNote::Ready)));
        assert!(matches!(
            read("RESUMED", r#"{"_trace":[]}"#),
            Some(GatewayNote::Resumed)
        ));
    }
}
