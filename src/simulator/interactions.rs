//! Slash commands: the application's commands, and the response to a use of one.
//!
//! Discord Docs/Interactions: Application Commands, Receiving and Responding.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::action::UseRequest;
use super::answer::{Answer, Reply};
use super::draft::{Draft, length};
use super::ids::{FIRST_LANE_CHANNEL, GUILD_ID};
use super::object;
use super::request::Call;
use super::state::Inner;
use super::world::{Interaction, text};
use crate::ids::snowflake_at;
use crate::time::Timestamp;

/// An interaction must be answered within this.
const ANSWER_WITHIN_US: i64 = 3_000_000;
/// `EPHEMERAL` and `SUPPRESS_EMBEDS`, the flags that a response may set.
const KNOWN_FLAGS: u64 = 1 << 6 | 1 << 2;
/// The type of an option that is a text.
const STRING: u64 = 3;
/// Most options of a command, and most choices of an option.
const MOST: usize = 25;
/// Languages in which a command may be described.
const LOCALES: [&str; 34] = [
    "ar", "bg", "cs", "da", "de", "el", "en-GB", "en-US", "es-419", "es-ES", "fi", "fr", "he", "hi", "hr", "hu", "id",
    "it", "ja", "ko", "lt", "nl", "no", "pl", "pt-BR", "ro", "ru", "sv-SE", "th", "tr", "uk", "vi", "zh-CN", "zh-TW",
];

/// A user uses a command; returns the interaction's id. The Gateway brings the event; the rest is up to the bot.
pub fn use_command(inner: &mut Inner, request: &UseRequest, now_us: i64) -> u64 {
    let used_us = now_us - i64::try_from(request.age_ms * 1_000).unwrap_or(0);
    let mut id = inner.world.mint(used_us);
    if request.age_ms > 0 {
        // The id says when the command was used, although newer ids exist.
        id = snowflake_at(Timestamp::from_millis(used_us / 1_000)) | id & 0xfff;
    }
    let token = text(&mut inner.world.rng, 64);
    let data = event(inner, request, id, &token);
    let interaction = Interaction {
        token,
        used_us,
        answer: None,
        refused: 0,
    };
    inner.world.interactions.insert(id, interaction);
    inner.dispatch("INTERACTION_CREATE", data, 0);
    id
}

fn event(inner: &mut Inner, request: &UseRequest, id: u64, token: &str) -> Value {
    let person = inner.world.person(request.user_id);
    let (user, member) = (person.public_json(), person.member_json());
    let registered = inner.world.commands.iter().find(|c| c["name"] == request.command);
    let command_id = registered.map_or_else(|| json!(id.to_string()), |c| c["id"].clone());
    let channel = match inner.world.channels.get(&FIRST_LANE_CHANNEL) {
        Some(channel) if !request.direct => object::channel(&inner.world, channel),
        _ => json!({"id": FIRST_LANE_CHANNEL.to_string(), "type": 1}),
    };
    let mut data = json!({
        "id": id.to_string(), "application_id": inner.world.application.id.to_string(), "type": request.kind,
        "token": token, "version": 1, "locale": request.locale, "entitlements": [], "attachment_size_limit": 10_485_760,
        "app_permissions": "562949953601536", "channel_id": FIRST_LANE_CHANNEL.to_string(),
        "channel": channel,
        "data": {"id": command_id, "name": request.command, "type": 1},
    });
    let chosen = |(name, value): (&String, &String)| json!({"name": name, "type": STRING, "value": value});
    if !request.options.is_empty() {
        data["data"]["options"] = request.options.iter().map(chosen).collect();
    }
    if request.direct {
        data["user"] = user;
        data["context"] = json!(1);
        data["authorizing_integration_owners"] = json!({"0": "0"});
    } else {
        data["member"] = member;
        data["guild_id"] = json!(GUILD_ID.to_string());
        data["guild_locale"] = json!("en-US");
        data["context"] = json!(0);
        data["authorizing_integration_owners"] = json!({"0": GUILD_ID.to_string()});
    }
    data
}

/// `POST /interactions/{id}/{token}/callback`: once, within 3 s.
pub fn answer(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let data = answered(&call.json()?)?;
    let unknown = || Answer::error(404, 10062, "Unknown interaction");
    let interaction = inner.world.interactions.get_mut(&call.ids[0]).ok_or_else(unknown)?;
    if interaction.token != call.text {
        return Err(Answer::error(401, 50027, "Invalid Webhook Token"));
    }
    let late = call.now_us - interaction.used_us >= ANSWER_WITHIN_US;
    if interaction.answer.is_some() || late {
        interaction.refused += 1;
    }
    if interaction.answer.is_some() {
        return Err(Answer::error(400, 40060, "Interaction has already been acknowledged."));
    }
    if late {
        return Err(unknown());
    }
    interaction.answer = Some(data);
    Ok(Answer::empty(204))
}

/// The message of a response, if Discord would accept it.
fn answered(body: &Value) -> Result<Value, Answer> {
    if body["type"] != 4 {
        let message = "Only answers with a message are simulated.";
        return Err(Answer::invalid_form("type", "BASE_TYPE_CHOICES", message));
    }
    let data = body["data"].clone();
    Draft::read(&data)?;
    check_components(&data["components"])?;
    if data["flags"].as_u64().unwrap_or(0) & !KNOWN_FLAGS != 0 {
        let message = "Flags that are not for answers.";
        return Err(Answer::invalid_form("flags", "BITFIELD_INVALID", message));
    }
    Ok(data)
}

/// Checks rows of buttons with links; no other components are simulated.
pub fn check_components(rows: &Value) -> Result<(), Answer> {
    let code = "COMPONENT_VALIDATION_FAILED";
    let bad = |message| Err(Answer::invalid_form("components", code, message));
    for row in rows.as_array().into_iter().flatten() {
        let buttons = row["components"].as_array().map_or(&[][..], Vec::as_slice);
        if row["type"] != 1 || !(1..=5).contains(&buttons.len()) {
            return bad("A row holds 1 to 5 components.");
        }
        for button in buttons {
            let url = button["url"].as_str().unwrap_or_default();
            let opens = ["http://", "https://", "discord://"].iter().any(|s| url.starts_with(s));
            if button["type"] != 2 || button["style"] != 5 || !(1..=80).contains(&length(&button["label"])) {
                return bad("Only buttons with a link and a label are simulated.");
            }
            if !opens || length(&button["url"]) > 512 || !button["custom_id"].is_null() {
                return bad("A button with a link has a URL of at most 512 characters and no custom_id.");
            }
        }
    }
    Ok(())
}

/// `GET /applications/{id}/commands`.
pub fn commands(inner: &mut Inner, call: &Call<'_>) -> Reply {
    own(inner, call)?;
    Ok(Answer::json(200, &json!(inner.world.commands)))
}

/// `POST /applications/{id}/commands`: creates a command, or changes the one of that name.
pub fn set_command(inner: &mut Inner, call: &Call<'_>) -> Reply {
    own(inner, call)?;
    let (created, command) = put(inner, &call.json()?, call.now_us)?;
    Ok(Answer::json(if created { 201 } else { 200 }, &command))
}

/// `PUT /applications/{id}/commands`: replaces all commands.
pub fn set_all(inner: &mut Inner, call: &Call<'_>) -> Reply {
    own(inner, call)?;
    let Value::Array(wanted) = call.json()? else {
        return Err(Answer::not_a_list("_misc"));
    };
    let before = std::mem::take(&mut inner.world.commands);
    for body in &wanted {
        if let Err(refusal) = put(inner, body, call.now_us) {
            inner.world.commands = before;
            return Err(refusal);
        }
    }
    Ok(Answer::json(200, &json!(inner.world.commands)))
}

fn own(inner: &Inner, call: &Call<'_>) -> Result<(), Answer> {
    if call.ids[0] == inner.world.application.id {
        return Ok(());
    }
    let message = "You are not authorized to perform this action on this application";
    Err(Answer::error(403, 20012, message))
}

/// `^[-_'\p{L}\p{N}]{1,32}$`, in lower case.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '\'');
    (1..=32).contains(&name.chars().count()) && name.chars().all(fits) && name.to_lowercase() == name
}

/// A description, a translation, or a choice: 1 to 100 characters.
fn is_text(text: &Value) -> bool {
    (1..=100).contains(&length(text))
}

/// Checks a description, if there has to be one, and its translations.
fn check_description(about: &Value, required: bool) -> Result<(), Answer> {
    if required && !is_text(&about["description"]) {
        return Err(Answer::bad_length("description", "between 1 and 100"));
    }
    let field = "description_localizations";
    for (locale, text) in about[field].as_object().into_iter().flatten() {
        if !LOCALES.contains(&locale.as_str()) {
            return Err(Answer::invalid_form(field, "ENUM_TYPE_COERCE", "Not a valid locale."));
        }
        if !is_text(text) {
            return Err(Answer::bad_length(field, "between 1 and 100"));
        }
    }
    Ok(())
}

/// Checks a command's options. Only texts with choices are simulated.
fn check_options(given: &[Value]) -> Result<(), Answer> {
    let bad = |code: &str, message: &str| Err(Answer::invalid_form("options", code, message));
    if given.len() > MOST {
        return Err(Answer::bad_length("options", "25 or fewer"));
    }
    let mut names = BTreeSet::new();
    for option in given {
        let name = option["name"].as_str().unwrap_or_default();
        if !is_name(name) || !names.insert(name) {
            let message = "Option name is invalid or used twice";
            return bad("APPLICATION_COMMAND_OPTIONS_NAME_INVALID", message);
        }
        if option["type"] != STRING {
            return bad("BASE_TYPE_CHOICES", "Only options of texts are simulated.");
        }
        check_description(option, true)?;
        let choices = option["choices"].as_array().map_or(&[][..], Vec::as_slice);
        if choices.len() > MOST || !choices.iter().all(|c| is_text(&c["name"]) && is_text(&c["value"])) {
            return bad(
                "BASE_TYPE_BAD_LENGTH",
                "Must be 25 or fewer choices of 1 to 100 characters.",
            );
        }
        let different: BTreeSet<_> = choices.iter().map(|choice| choice["name"].as_str()).collect();
        if different.len() < choices.len() {
            let message = "Choices must have unique names";
            return bad("APPLICATION_COMMAND_OPTIONS_CHOICE_NAME_DUPLICATE", message);
        }
    }
    Ok(())
}

/// Stores a command; whether it is new, and the command as Discord shows it.
fn put(inner: &mut Inner, body: &Value, now_us: i64) -> Result<(bool, Value), Answer> {
    let bad = |field: &str, code: &str, message: &str| Err(Answer::invalid_form(field, code, message));
    let name = body["name"].as_str().unwrap_or_default();
    if !is_name(name) {
        return bad("name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid");
    }
    let kind = body.get("type").and_then(Value::as_u64).unwrap_or(1);
    // A command in a context menu has no description.
    check_description(body, kind == 1)?;
    let options = body["options"].as_array().map_or(&[][..], Vec::as_slice);
    check_options(options)?;
    for (field, most) in [("contexts", 2), ("integration_types", 1)] {
        let values = body[field].as_array();
        let fine = |v: &Value| v.as_u64().is_some_and(|n| n <= most);
        if values.is_some_and(|list| list.is_empty() || !list.iter().all(fine)) {
            return bad(field, "BASE_TYPE_CHOICES", "Value must be one of the known ones.");
        }
    }
    let version = inner.world.mint(now_us).to_string();
    let mut commands = inner.world.commands.iter();
    let known = commands.position(|c| c["name"] == name && c["type"] == kind);
    let id = match known {
        Some(at) => inner.world.commands[at]["id"].clone(),
        None => json!(inner.world.mint(now_us).to_string()),
    };
    let or = |field: &str, default: Value| match &body[field] {
        Value::Null => default,
        given => given.clone(),
    };
    let mut command = json!({
        "id": id, "application_id": inner.world.application.id.to_string(), "version": version, "type": kind,
        "name": name, "name_localizations": or("name_localizations", Value::Null),
        "description": or("description", json!("")),
        "description_localizations": or("description_localizations", Value::Null),
        "default_member_permissions": or("default_member_permissions", Value::Null), "dm_permission": true,
        "contexts": or("contexts", Value::Null), "integration_types": or("integration_types", json!([0])), "nsfw": false,
    });
    if !options.is_empty() {
        command["options"] = json!(options);
    }
    match known {
        Some(at) => inner.world.commands[at] = command.clone(),
        None => inner.world.commands.push(command.clone()),
    }
    Ok((known.is_none(), command))
}
