//! A synthetic user and the JSON that Discord gives about them. Everything follows from the id unless it was set.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::action::id;
use super::ids::{GUILD_ID, OWNER_ID};

/// When every member joined the guild.
pub const JOINED_AT: &str = "2026-08-01T09:00:00.000000+00:00";

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// The user id, of 17 to 20 digits.
    #[serde(deserialize_with = "id")]
    pub id: u64,
    /// The username, which may change.
    pub username: String,
    /// The display name.
    pub global_name: Option<String>,
    /// The avatar's hash.
    pub avatar: Option<String>,
    /// The email address; some users have none even with the scope.
    pub email: Option<String>,
    /// How many guilds the user is in, apart from the simulator's own.
    pub guilds: u8,
    /// How many accounts are connected.
    pub connections: u8,
    /// Whether the user is a member of the simulator's guild.
    pub member: bool,
    /// Whether the user's DMs are closed to the bot.
    #[serde(default)]
    pub direct_messages_closed: bool,
    /// Fields that replace those of `GET /users/@me`.
    #[serde(default)]
    pub overrides: Map<String, Value>,
}

const NAMES: [&str; 8] = ["ada", "grace", "edsger", "barbara", "alan", "radia", "tony", "frances"];
const PROVIDERS: [&str; 6] = ["github", "steam", "twitch", "youtube", "reddit", "spotify"];

impl Person {
    /// A user whose name and profile follow from the id; some have no avatar, display name or email address.
    pub fn synthetic(id: u64) -> Self {
        let name = NAMES[(id % 8) as usize];
        Self {
            id,
            username: format!("{name}.{}", id % 10_000),
            global_name: (id % 5 != 3).then(|| format!("{}{} \u{2728}", name[..1].to_uppercase(), &name[1..])),
            avatar: (id % 3 != 2).then(|| format!("{id:032x}")),
            email: (id % 7 != 5).then(|| format!("{name}.{}@example.org", id % 10_000)),
            guilds: (id % 6) as u8,
            connections: (id % 4) as u8,
            member: id % 4 != 2,
            direct_messages_closed: false,
            overrides: Map::new(),
        }
    }

    /// The user object as others see it.
    pub fn public_json(&self) -> Value {
        json!({"id": self.id.to_string(), "username": self.username, "discriminator": "0", "global_name": self.global_name,
            "avatar": self.avatar, "banner": null, "accent_color": null, "avatar_decoration_data": null, "collectibles": null,
            "primary_guild": null, "public_flags": 0, "flags": 0})
    }

    /// `GET /users/@me`.
    pub fn own_json(&self, with_email: bool) -> Value {
        let mut user = self.public_json();
        user["mfa_enabled"] = json!(self.id.is_multiple_of(2));
        user["locale"] = json!("en-GB");
        user["premium_type"] = json!(0);
        if with_email {
            user["email"] = json!(self.email);
            user["verified"] = json!(self.email.is_some());
        }
        for (key, value) in &self.overrides {
            user[key.as_str()] = value.clone();
        }
        user
    }

    /// `GET /users/@me/guilds`.
    pub fn guilds_json(&self, with_counts: bool) -> Vec<Value> {
        let own = self
            .member
            .then_some((GUILD_ID, "The house".to_owned(), self.id == OWNER_ID));
        let others = (0..u64::from(self.guilds)).map(|nth| {
            let id = 290_926_798_626_999_250 + (self.id % 1_000) * 100 + nth;
            let owner = nth == 0 && self.id.is_multiple_of(2);
            (id, format!("Guild {}", id % 100_000), owner)
        });
        let mut guilds: Vec<_> = own.into_iter().chain(others).collect();
        guilds.sort_by_key(|(id, ..)| *id);
        guilds
            .into_iter()
            .map(|(id, name, owner)| {
                let mut guild = json!({"id": id.to_string(), "name": name, "icon": null, "banner": null, "owner": owner,
                    "permissions": "2248473465835073", "features": ["COMMUNITY"]});
                if with_counts {
                    guild["approximate_member_count"] = json!(12);
                    guild["approximate_presence_count"] = json!(3);
                }
                guild
            })
            .collect()
    }

    /// `GET /users/@me/connections`.
    pub fn connections_json(&self) -> Vec<Value> {
        (0..usize::from(self.connections))
            .map(|nth| {
                json!({"id": format!("{}{nth}", self.id % 1_000_000), "name": format!("{}-{nth}", self.username),
                    "type": PROVIDERS[(self.id as usize + nth) % PROVIDERS.len()], "friend_sync": false, "show_activity": true,
                    "verified": true, "two_way_link": false, "visibility": i32::from(nth == 0), "revoked": false, "integrations": []})
            })
            .collect()
    }

    /// `GET /users/@me/guilds/{guild}/member` of the simulator's guild.
    pub fn member_json(&self) -> Value {
        let mut member = member_json(&self.public_json(), &[]);
        member["permissions"] = json!("2248473465835073");
        member
    }
}

/// A member of the simulator's guild.
pub fn member_json(user: &Value, roles: &[String]) -> Value {
    json!({"user": user, "nick": null, "avatar": null, "banner": null, "roles": roles, "joined_at": JOINED_AT,
        "premium_since": null, "pending": false, "mute": false, "deaf": false, "flags": 0,
        "communication_disabled_until": null})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_people_lack_what_may_be_null() {
        let people: Vec<_> = (0..100)
            .map(|n| Person::synthetic(80_000_000_000_000_001 + n))
            .collect();
        assert!(people.iter().any(|p| p.avatar.is_none()) && people.iter().any(|p| p.avatar.is_some()));
        assert!(people.iter().any(|p| p.global_name.is_none()));
        let nameless = people.iter().find(|p| p.email.is_none()).expect("one without mail");
        assert_eq!(nameless.own_json(true)["email"], Value::Null);
        assert!(nameless.own_json(false).get("email").is_none());
    }

    #[test]
    fn what_was_set_is_given() {
        let mut person = Person::synthetic(80_000_000_000_000_001);
        person.overrides.insert("surprise".into(), json!({"deep": [1]}));
        assert_eq!(person.own_json(false)["surprise"]["deep"][0], 1);
    }
}
