//! A short embed, posted through a Discord webhook within that channel's webhook budget.
//!
//! A post is not idempotent and Discord offers no key for it, so the result's id stands in the footer: after an unknown
//! outcome the channel is read, and a post with that id is adopted instead of sent again.

use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::crash;
use crate::ids::{ChannelId, WebhookId, snowflake_at};
use crate::port::later::Later;
use crate::port::permit::Permit;
use crate::port::sink::{Delivery, DeliveryAnswer, Sink};
use crate::port::webhook::{PostAnswer, WebhookPost};

/// An earlier post is looked for this long before the result was settled: Discord's clock is not ours.
const CLOCKS_DIFFER: Duration = Duration::from_mins(2);

/// A webhook that shows results to people.
pub struct DiscordWebhook {
    posts: Rc<dyn WebhookPost>,
    channel: ChannelId,
    webhook: WebhookId,
}

impl DiscordWebhook {
    /// A sink for this webhook, which posts into this channel.
    pub fn new(posts: Rc<dyn WebhookPost>, channel: ChannelId, webhook: WebhookId) -> Self {
        Self {
            posts,
            channel,
            webhook,
        }
    }
}

impl Sink for DiscordWebhook {
    fn channel(&self) -> Option<ChannelId> {
        Some(self.channel)
    }

    fn deliver<'a>(&'a self, delivery: &'a Delivery, permit: Permit) -> LocalBoxFuture<'a, DeliveryAnswer> {
        async move {
            let mark = delivery.id.to_string();
            if delivery.uncertain {
                crash::point("lookup.before");
                let since = snowflake_at(delivery.settled_at - CLOCKS_DIFFER);
                let recent = self.posts.recent(self.channel, self.webhook, since).await;
                crash::point("lookup.after");
                match recent {
                    Ok(posts) if posts.iter().any(|p| p.footers.contains(&mark)) => {
                        drop(permit);
                        return DeliveryAnswer::Delivered;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        drop(permit);
                        let reason = format!("the channel cannot be read to look for an earlier post: {error}");
                        return again(true, &reason);
                    }
                }
            }
            crash::point("deliver.discord_webhook.before");
            let answer = self.posts.execute(self.webhook, &embed(delivery, &mark)).await;
            crash::point("deliver.discord_webhook.after");
            permit.settle(answer.feedback);
            match answer.outcome {
                PostAnswer::Posted(_) => DeliveryAnswer::Delivered,
                PostAnswer::NotSent(reason) => again(false, reason.as_str()),
                PostAnswer::Later(later) => DeliveryAnswer::Later {
                    later,
                    uncertain: false,
                },
                PostAnswer::Unknown(reason) => again(true, reason.as_str()),
                PostAnswer::Refused { reason, .. } => DeliveryAnswer::Refused {
                    reason: reason.to_string(),
                },
            }
        }
        .boxed_local()
    }
}

fn again(uncertain: bool, reason: &str) -> DeliveryAnswer {
    let later = Later::because(reason);
    DeliveryAnswer::Later { later, uncertain }
}

/// A name as Discord shows it, letter by letter: neither Markdown nor a link, bare ones included, since a backslash takes
/// the meaning of whatever punctuation follows it. Cut to 80 characters.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars().filter(|c| !c.is_control()).take(80) {
        if c.is_ascii_punctuation() {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// The post: who, what for, how it ended. No e-mail, no lists; names are escaped and cannot ping anybody.
fn embed(delivery: &Delivery, mark: &str) -> Value {
    let result: Value = serde_json::from_str(delivery.body.expose()).unwrap_or_default();
    let outcome = delivery.kind.trim_start_matches("authorization.");
    let name = ["global_name", "username"]
        .iter()
        .find_map(|key| result["user"][key].as_str())
        .unwrap_or_default();
    let name = escaped(name);
    let who = match (delivery.user, name.is_empty()) {
        (Some(user), true) => format!("<@{user}>"),
        (Some(user), false) => format!("<@{user}> ({name})"),
        (None, _) => "somebody unknown".to_owned(),
    };
    let mut fields = vec![json!({ "name": "person", "value": who, "inline": true })];
    for (label, value) in [("purpose", &result["state"]["purpose"]), ("reason", &result["reason"])] {
        if let Some(text) = value.as_str() {
            fields.push(json!({ "name": label, "value": text, "inline": true }));
        }
    }
    let missing: Vec<&str> = result["missing"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !missing.is_empty() {
        fields.push(json!({ "name": "missing", "value": missing.join(", "), "inline": true }));
    }
    let colour = if outcome == "completed" { 0x2e_a0_43 } else { 0xd2_99_22 };
    json!({
        "allowed_mentions": { "parse": [] },
        "embeds": [{
            "title": format!("Authorization {}", outcome.replace('_', " ")),
            "color": colour,
            "fields": fields,
            "timestamp": result["settled_at"],
            "footer": { "text": mark },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_markdown_nor_a_link() {
        for (name, shown) in [
            ("Zoë 🦊", "Zoë 🦊"),
            ("https://evil.example/a", r"https\:\/\/evil\.example\/a"),
            ("[free](http://x.y)", r"\[free\]\(http\:\/\/x\.y\)"),
            ("*a* _b_ ~~c~~ `d` ||e||", r"\*a\* \_b\_ \~\~c\~\~ \`d\` \|\|e\|\|"),
            ("# <@1> @everyone\n> -", r"\# \<\@1\> \@everyone\> \-"),
            (r"\", r"\\"),
        ] {
            assert_eq!(escaped(name), shown);
        }
        assert_eq!(escaped(&"*".repeat(200)).len(), 160);
    }
}
