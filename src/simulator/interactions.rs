//! Slash commands and their use: the commands of the application, interactions and their one answer each.
//!
//! Discord Docs/Interactions: Application Commands, Receiving and Responding.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::Answer;
use super::gateway::Dispatch;
use super::request::Call;
use super::state::{Inner, State};
use super::world::{FIRST_LANE_CHANNEL, GUILD_ID, text};

/// An interaction must be answered within this.
const ANSWER_WITHIN_US: i64 = 3_000_000;
/// `EPHEMERAL` and `SUPPRESS_EMBEDS`, which an answer may ask for.
const KNOWN_FLAGS: u64 = 1 << 6 | 1 << 2;
/// The kind of option that is a text.
const STRING: u64 = 3;
/// Most options of a command, and most choices of an option.
const MOST: usize = 25;
/// Languages in which a command may be described.
const LOCALES: [&str; 34] = [
    "ar", "bg", "cs", "da", "de", "el", "en-GB", "en-US", "es-419", "es-ES", "fi", "fr", "he", "hi", "hr", "hu", "id",
    "it", "ja", "ko", "lt", "nl", "no", "pl", "pt-BR", "ro", "ru", "sv-SE", "th", "tr", "uk", "vi", "zh-CN", "zh-TW",
];

/// Somebody uses a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseRequest {
    /// The command's name.
    pub command: String,
    /// What was chosen, by the option's name; options hold texts here.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Who.
    #[serde(deserialize_with = "super::control::id")]
    pub user_id: u64,
    /// The language of that person's client.
    #[serde(default = "english")]
    pub locale: String,
    /// Whether in a direct message with the bot, instead of in the guild.
    #[serde(default)]
    pub direct: bool,
    /// The kind of interaction: 2 is a command, 4 the wish for suggestions.
    #[serde(default = "command")]
    pub kind: u8,
    /// How long ago it was used, as if the gateway had been slow.
    #[serde(default)]
    pub age_ms: u64,
}

fn english() -> String {
    "en-US".to_owned()
}

const fn command() -> u8 {
    2
}

impl UseRequest {
    /// A person uses a command in the guild, in English.
    pub fn of(user_id: u64, command: &str) -> Self {
        Self {
            command: command.to_owned(),
            options: BTreeMap::new(),
            user_id,
            locale: english(),
            direct: false,
            kind: self::command(),
            age_ms: 0,
        }
    }
}

/// An interaction and its answer.
#[derive(Clone)]
pub struct Interaction {
    pub(super) token: String,
    used_us: i64,
    /// The answer's `data`, once there is one.
    pub answer: Option<Value>,
    /// Answers that came too late, or a second time.
    pub refused: u64,
}

/// Somebody uses a command: the interaction's id. It is told to the gateway, and nothing else happens until it is answered.
pub fn use_command(state: &State, request: &UseRequest) -> u64 {
    let now_us = state.now_us() - i64::try_from(request.age_ms * 1_000).unwrap_or(0);
    let (id, dispatch) = {
        let mut inner = state.lock();
        let id = inner.world.mint(now_us);
        // Of an earlier moment than the last id: the id itself tells when the command was used.
        let id = if request.age_ms > 0 {
            crate::ids::snowflake_at(crate::time::Timestamp::from_millis(now_us / 1_000)) | id & 0xfff
        } else {
            id
        };
        let token = text(&mut inner.world.rng, 64);
        let data = event(&mut inner, request, id, &token);
        let interaction = Interaction {
            token,
            used_us: now_us,
            answer: None,
            refused: 0,
        };
        inner.world.interactions.insert(id, interaction);
        let dispatch = Dispatch {
            kind: "INTERACTION_CREATE",
            data,
            intents: 0,
        };
        (id, dispatch)
    };
    state.gateway().publish(dispatch);
    id
}

fn event(inner: &mut Inner, request: &UseRequest, id: u64, token: &str) -> Value {
    let user = inner.world.person(request.user_id).public_json();
    let registered = inner.world.commands.iter().find(|c| c["name"] == request.command);
    let command_id = registered.map_or_else(|| json!(id.to_string()), |c| c["id"].clone());
    let mut data = json!({
        "id": id.to_string(), "application_id": inner.world.application.id.to_string(), "type": request.kind,
        "token": token, "version": 1, "locale": request.locale, "entitlements": [], "attachment_size_limit": 10_485_760,
        "app_permissions": "562949953601536", "channel_id": FIRST_LANE_CHANNEL.to_string(),
        "channel": {"id": FIRST_LANE_CHANNEL.to_string(), "type": i32::from(request.direct)},
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
        data["member"] = json!({"user": user, "roles": [], "joined_at": "2026-08-01T09:00:00.000000+00:00", "nick": null,
            "avatar": null, "premium_since": null, "pending": false, "mute": false, "deaf": false, "flags": 0,
            "communication_disabled_until": null, "permissions": "2248473465835073"});
        data["guild_id"] = json!(GUILD_ID.to_string());
        data["guild_locale"] = json!("en-US");
        data["context"] = json!(0);
        data["authorizing_integration_owners"] = json!({"0": GUILD_ID.to_string()});
    }
    data
}

/// `POST /interactions/{id}/{token}/callback`: once, within 3 s.
pub fn answer(inner: &mut Inner, call: &Call<'_>, id: u64, token: &str) -> Result<Answer, Answer> {
    let body = call.json()?;
    let data = answered(&body)?;
    let unknown = || Answer::error(404, 10062, "Unknown interaction");
    let interaction = inner.world.interactions.get_mut(&id).ok_or_else(unknown)?;
    if interaction.token != token {
        return Err(Answer::error(401, 50027, "Invalid Webhook Token"));
    }
    if interaction.answer.is_some() {
        interaction.refused += 1;
        return Err(Answer::error(400, 40060, "Interaction has already been acknowledged."));
    }
    if call.now_us - interaction.used_us >= ANSWER_WITHIN_US {
        interaction.refused += 1;
        return Err(unknown());
    }
    interaction.answer = Some(data);
    Ok(Answer::empty(204))
}

/// The message in an answer, if it is one that people can be shown.
fn answered(body: &Value) -> Result<Value, Answer> {
    let bad = |field: &str, code: &str, message: &str| Err(Answer::invalid_form(field, code, message));
    if body["type"] != 4 {
        return bad(
            "type",
            "BASE_TYPE_CHOICES",
            "Only answers with a message are simulated.",
        );
    }
    let data = body["data"].clone();
    super::message::Draft::read(&data)?;
    check_components(&data["components"])?;
    if data["flags"].as_u64().unwrap_or(0) & !KNOWN_FLAGS != 0 {
        return bad("flags", "BITFIELD_INVALID", "Flags that are not for answers.");
    }
    Ok(data)
}

/// Rows of buttons with links; nothing else is simulated.
pub fn check_components(rows: &Value) -> Result<(), Answer> {
    let bad = |message: &str| {
        Err(Answer::invalid_form(
            "components",
            "COMPONENT_VALIDATION_FAILED",
            message,
        ))
    };
    for row in rows.as_array().into_iter().flatten() {
        let buttons = row["components"].as_array().map_or(&[][..], Vec::as_slice);
        if row["type"] != 1 || !(1..=5).contains(&buttons.len()) {
            return bad("A row holds 1 to 5 components.");
        }
        for button in buttons {
            let length = |field: &str| button[field].as_str().map_or(0, |text| text.chars().count());
            let url = button["url"].as_str().unwrap_or_default();
            let opens = ["http://", "https://", "discord://"].iter().any(|s| url.starts_with(s));
            if button["type"] != 2 || button["style"] != 5 || !(1..=80).contains(&length("label")) {
                return bad("Only buttons with a link and a label are simulated.");
            }
            if !opens || length("url") > 512 || !button["custom_id"].is_null() {
                return bad("A button with a link has a URL of at most 512 characters and no custom_id.");
            }
        }
    }
    Ok(())
}

/// `GET /applications/{id}/commands`.
pub fn commands(inner: &Inner, call: &Call<'_>, application: u64) -> Result<Answer, Answer> {
    own(inner, call, application)?;
    Ok(Answer::json(200, &json!(inner.world.commands)))
}

/// `POST /applications/{id}/commands`: makes one, or changes the one of that name.
pub fn set_command(inner: &mut Inner, call: &Call<'_>, application: u64) -> Result<Answer, Answer> {
    own(inner, call, application)?;
    let (made, command) = put(inner, &call.json()?, call.now_us)?;
    Ok(Answer::json(if made { 201 } else { 200 }, &command))
}

/// `PUT /applications/{id}/commands`: these and no others.
pub fn set_all(inner: &mut Inner, call: &Call<'_>, application: u64) -> Result<Answer, Answer> {
    own(inner, call, application)?;
    let Value::Array(wanted) = call.json()? else {
        return Err(Answer::invalid_form(
            "_misc",
            "BASE_TYPE_INVALID",
            "Only iterables may be used in a ListType.",
        ));
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

fn own(inner: &Inner, call: &Call<'_>, application: u64) -> Result<(), Answer> {
    call.bot_only()?;
    if application == inner.world.application.id {
        Ok(())
    } else {
        Err(Answer::error(
            403,
            20012,
            "You are not authorized to perform this action on this application",
        ))
    }
}

/// `^[-_'\p{L}\p{N}]{1,32}$`, in lower case.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '\'');
    (1..=32).contains(&name.chars().count()) && name.chars().all(fits) && name.to_lowercase() == name
}

/// Descriptions in other languages.
fn check_localized(localized: &Value) -> Result<(), Answer> {
    let bad = |code: &str, message: &str| Err(Answer::invalid_form("description_localizations", code, message));
    for (locale, description) in localized.as_object().into_iter().flatten() {
        if !LOCALES.contains(&locale.as_str()) {
            return bad("ENUM_TYPE_COERCE", "Not a valid locale.");
        }
        let length = description.as_str().map_or(0, |text| text.chars().count());
        if !(1..=100).contains(&length) {
            return bad("BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.");
        }
    }
    Ok(())
}

/// The options of a command as they are kept: texts with choices; nothing else is simulated.
fn options(given: &Value) -> Result<Vec<Value>, Answer> {
    let bad = |code: &str, message: &str| Err(Answer::invalid_form("options", code, message));
    let given = given.as_array().map_or(&[][..], Vec::as_slice);
    if given.len() > MOST {
        return bad("BASE_TYPE_BAD_LENGTH", "Must be 25 or fewer in length.");
    }
    let length = |text: &Value| text.as_str().map_or(0, |text| text.chars().count());
    let mut names = BTreeSet::new();
    let mut kept = Vec::new();
    for option in given {
        let name = option["name"].as_str().unwrap_or_default();
        if !is_name(name) || !names.insert(name) {
            return bad(
                "APPLICATION_COMMAND_OPTIONS_NAME_INVALID",
                "Option name is invalid or used twice",
            );
        }
        if option["type"] != STRING {
            return bad("BASE_TYPE_CHOICES", "Only options of texts are simulated.");
        }
        if !(1..=100).contains(&length(&option["description"])) {
            return bad("BASE_TYPE_BAD_LENGTH", "Must be between 1 and 100 in length.");
        }
        check_localized(&option["description_localizations"])?;
        let choices = option["choices"].as_array().map_or(&[][..], Vec::as_slice);
        let mut told = BTreeSet::new();
        let fits = |choice: &Value| {
            let (name, value) = (length(&choice["name"]), length(&choice["value"]));
            (1..=100).contains(&name) && (1..=100).contains(&value)
        };
        if choices.len() > MOST || !choices.iter().all(fits) {
            return bad(
                "BASE_TYPE_BAD_LENGTH",
                "Must be 25 or fewer choices of 1 to 100 characters.",
            );
        }
        if !choices.iter().all(|choice| told.insert(choice["name"].as_str())) {
            return bad(
                "APPLICATION_COMMAND_OPTIONS_CHOICE_NAME_DUPLICATE",
                "Choices must have unique names",
            );
        }
        kept.push(option.clone());
    }
    Ok(kept)
}

fn put(inner: &mut Inner, body: &Value, now_us: i64) -> Result<(bool, Value), Answer> {
    let bad = |field: &str, code: &str, message: &str| Err(Answer::invalid_form(field, code, message));
    let name = body["name"].as_str().unwrap_or_default();
    if !is_name(name) {
        return bad("name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid");
    }
    let kind = body.get("type").and_then(Value::as_u64).unwrap_or(1);
    let length = |text: &Value| text.as_str().map_or(0, |text| text.chars().count());
    if kind == 1 && !(1..=100).contains(&length(&body["description"])) {
        return bad(
            "description",
            "BASE_TYPE_BAD_LENGTH",
            "Must be between 1 and 100 in length.",
        );
    }
    check_localized(&body["description_localizations"])?;
    let options = options(&body["options"])?;
    for (field, most) in [("contexts", 2), ("integration_types", 1)] {
        let values = body[field].as_array();
        let fine = |v: &Value| v.as_u64().is_some_and(|n| n <= most);
        if values.is_some_and(|list| list.is_empty() || !list.iter().all(fine)) {
            return bad(field, "BASE_TYPE_CHOICES", "Value must be one of the known ones.");
        }
    }
    let version = inner.world.mint(now_us).to_string();
    let known = inner
        .world
        .commands
        .iter()
        .position(|c| c["name"] == name && c["type"] == kind);
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
