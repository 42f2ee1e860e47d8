//! The routes by which people are reached: the slash command, answers to it, direct messages.

use futures_util::future::{FutureExt, LocalBoxFuture};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::bot::{HttpBotApi, id_of};
use super::bot_call::{Call, Route, odd};
use crate::ids::{ApplicationId, ChannelId, UserId};
use crate::port::contact::{CommandUse, Contact, LONGEST_BUTTON_URL, MOST_CHOICES, Note, OwnCommand, PURPOSE};
use crate::port::discord::BotError;
use crate::text::{BASE, LONGEST_MESSAGE, Phrases, Template};

/// `CHANNEL_MESSAGE_WITH_SOURCE` (Discord Docs/Interactions/Receiving and Responding).
const ANSWER_WITH_A_MESSAGE: u8 = 4;
/// `SUPPRESS_EMBEDS`: no picture of Discord's own consent page is wanted below a link.
const SUPPRESS_EMBEDS: u64 = 1 << 2;
/// `EPHEMERAL`: only the one who used the command sees the answer.
const EPHEMERAL: u64 = 1 << 6;

impl Contact for HttpBotApi {
    fn set_command<'a>(
        &'a self,
        application: ApplicationId,
        own: &'a OwnCommand<'a>,
    ) -> LocalBoxFuture<'a, Result<(), BotError>> {
        async move {
            let path = format!("/applications/{application}/commands");
            // One command alone: to set the list as a whole would delete what another program of this bot has set.
            let call = Call::as_bot(Method::POST, Route("commands", 0), &path).with_json(&command(own));
            self.caller().call(call).await.map(|_| ())
        }
        .boxed_local()
    }

    fn answer<'a>(&'a self, used: &'a CommandUse, note: &'a Note) -> LocalBoxFuture<'a, Result<(), BotError>> {
        async move {
            let body = json!({"type": ANSWER_WITH_A_MESSAGE, "data": message(note, EPHEMERAL)});
            let call = Call::interaction(used.id, &used.token).with_json(&body);
            self.caller().call(call).await.map(|_| ())
        }
        .boxed_local()
    }

    fn open_direct(&self, person: UserId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>> {
        async move {
            let call = Call::as_bot(Method::POST, Route("direct channels", 0), "/users/@me/channels")
                .with_json(&json!({"recipient_id": person.to_string()}));
            let channel = self.caller().json(call).await?;
            id_of(channel.get("id"))
                .map(ChannelId)
                .ok_or_else(|| odd("the direct channel has no id"))
        }
        .boxed_local()
    }

    fn send_direct<'a>(
        &'a self,
        channel: ChannelId,
        note: &'a Note,
        mark: &'a str,
    ) -> LocalBoxFuture<'a, Result<(), BotError>> {
        async move {
            let mut body = message(note, SUPPRESS_EMBEDS);
            body.insert("nonce".to_owned(), json!(mark));
            body.insert("enforce_nonce".to_owned(), json!(true));
            let path = format!("/channels/{channel}/messages");
            let call = Call::as_bot(Method::POST, Route("messages", channel.0), &path).with_json(&Value::Object(body));
            self.caller().call(call).await.map(|_| ())
        }
        .boxed_local()
    }
}

/// The command as Discord is to know it: for everybody, in servers and in direct messages with the bot.
fn command(own: &OwnCommand<'_>) -> Value {
    let choices = own.purposes.iter().take(MOST_CHOICES);
    let choices: Vec<_> = choices.map(|name| json!({"name": name, "value": name})).collect();
    let (purpose, of_purpose) = in_all_languages(own.phrases, |p| &p.purpose);
    let option = json!({
        // STRING
        "type": 3,
        "name": PURPOSE,
        "description": purpose,
        "description_localizations": of_purpose,
        "required": false,
        "choices": choices,
    });
    let (base, others) = in_all_languages(own.phrases, |p| &p.description);
    json!({
        "name": own.name,
        // CHAT_INPUT
        "type": 1,
        "description": base,
        "description_localizations": others,
        // Named even where there are none: that takes away those of an earlier start.
        "options": if own.purposes.is_empty() { json!([]) } else { json!([option]) },
        // GUILD and BOT_DM
        "contexts": [0, 1],
        // GUILD_INSTALL
        "integration_types": [0],
    })
}

/// One text in the base language, and by language in the others.
fn in_all_languages(phrases: &[Phrases], which: fn(&Phrases) -> &Template) -> (String, Map<String, Value>) {
    let said = |p: &Phrases| which(p).fill(&[]).unwrap_or_default();
    let base = Phrases::choose(phrases, BASE).map(said).unwrap_or_default();
    let others = phrases.iter().filter(|p| p.locale != BASE);
    (base, others.map(|p| (p.locale.clone(), json!(said(p)))).collect())
}

/// A message that pings nobody. A link that is too long for a button stands in the text.
fn message(note: &Note, flags: u64) -> Map<String, Value> {
    let mut content = note.text.clone();
    let mut rows = Vec::new();
    if let Some(button) = &note.button {
        if button.url.chars().count() <= LONGEST_BUTTON_URL {
            let button = json!({"type": 2, "style": 5, "label": button.label, "url": button.url});
            rows.push(json!({"type": 1, "components": [button]}));
        } else {
            content = format!("{content}\n{}", button.url);
            if content.chars().count() > LONGEST_MESSAGE {
                content.clone_from(&button.url);
            }
        }
    }
    let fields = [
        ("content", json!(content)),
        ("components", json!(rows)),
        ("allowed_mentions", json!({"parse": []})),
        ("flags", json!(flags)),
    ];
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::contact::Button;

    fn note(url: &str) -> Note {
        let button = Button {
            label: "Connect".to_owned(),
            url: url.to_owned(),
        };
        Note {
            text: "Open this.".to_owned(),
            button: Some(button),
        }
    }

    #[test]
    fn a_link_is_on_a_button_unless_it_is_too_long_for_one() {
        let short = "https://discord.com/oauth2/authorize?a=b";
        let body = message(&note(short), EPHEMERAL);
        assert_eq!((&body["content"], &body["flags"]), (&json!("Open this."), &json!(64)));
        assert_eq!(
            body["components"],
            json!([{"type": 1, "components": [{"type": 2, "style": 5, "label": "Connect", "url": short}]}])
        );
        let long = format!("{short}{}", "x".repeat(500));
        let body = message(&note(&long), 0);
        assert_eq!(body["content"], json!(format!("Open this.\n{long}")));
        assert_eq!(body["components"], json!([]));
        let endless = format!("{short}{}", "x".repeat(1955));
        let body = message(&note(&endless), 0);
        assert_eq!(body["content"], json!(endless));
    }
}
