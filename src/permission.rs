//! Discord's permissions, and what roles and overwrites make of them in a channel
//! ([Discord Docs/Permissions](https://docs.discord.com/developers/topics/permissions)). Pure.

/// A set of permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(pub u64);

impl Permissions {
    /// `ADMINISTRATOR`: holds all, whatever an overwrite says.
    pub const ADMINISTRATOR: Self = Self(1 << 3);
    /// `ADD_REACTIONS`.
    pub const ADD_REACTIONS: Self = Self(1 << 6);
    /// `VIEW_CHANNEL`, without which nothing else counts.
    pub const VIEW_CHANNEL: Self = Self(1 << 10);
    /// `SEND_MESSAGES`.
    pub const SEND_MESSAGES: Self = Self(1 << 11);
    /// `MANAGE_MESSAGES`.
    pub const MANAGE_MESSAGES: Self = Self(1 << 13);
    /// `READ_MESSAGE_HISTORY`.
    pub const READ_MESSAGE_HISTORY: Self = Self(1 << 16);
    /// `MANAGE_WEBHOOKS`.
    pub const MANAGE_WEBHOOKS: Self = Self(1 << 29);
    /// Every permission, also those that Discord adds later.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether all of these are held.
    pub const fn holds(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// These and others.
    pub const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }
}

/// A role, as far as permissions go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its id; that of `@everyone` is the guild's.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it gives in the whole guild.
    pub permissions: Permissions,
}

/// What a channel changes for a role or a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overwrite {
    /// The role or the member; no role has a member's id.
    pub id: u64,
    /// Taken away.
    pub deny: Permissions,
    /// Given, also where another overwrite of the same step takes it away.
    pub allow: Permissions,
}

/// What a member with these roles may do in a channel. `member` is `None` for the role's holders in general.
pub fn in_channel(
    guild: u64,
    member: Option<u64>,
    theirs: &[u64],
    roles: &[Role],
    overwrites: &[Overwrite],
) -> Permissions {
    let held = |id: u64| id == guild || theirs.contains(&id);
    let base = roles.iter().filter(|role| held(role.id));
    let base = base.fold(Permissions::default(), |all, role| all.and(role.permissions));
    if base.holds(Permissions::ADMINISTRATOR) {
        return Permissions::ALL;
    }
    let changed = |before: Permissions, applies: &dyn Fn(u64) -> bool| {
        let these = overwrites.iter().filter(|o| applies(o.id));
        let (deny, allow) = these.fold((0, 0), |(deny, allow), o| (deny | o.deny.0, allow | o.allow.0));
        Permissions(before.0 & !deny | allow)
    };
    let everyone = changed(base, &|id| id == guild);
    let of_roles = changed(everyone, &|id| id != guild && theirs.contains(&id));
    let own = changed(of_roles, &|id| Some(id) == member);
    if own.holds(Permissions::VIEW_CHANNEL) {
        own
    } else {
        Permissions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUILD: u64 = 1;
    const MODERATORS: u64 = 2;
    const BOTS: u64 = 3;
    const BOT: u64 = 9;
    const VIEW: Permissions = Permissions::VIEW_CHANNEL;
    const READ: Permissions = Permissions::READ_MESSAGE_HISTORY;
    const NONE: Permissions = Permissions(0);

    fn roles(everyone: Permissions, moderators: Permissions) -> Vec<Role> {
        [(GUILD, everyone), (MODERATORS, moderators), (BOTS, NONE)]
            .map(|(id, permissions)| Role {
                id,
                name: id.to_string(),
                permissions,
            })
            .into()
    }

    #[test]
    fn overwrites_apply_for_everyone_then_for_roles_together_then_for_the_member() {
        let both = VIEW.and(READ);
        let over = |id, deny, allow| Overwrite { id, deny, allow };
        for (overwrites, theirs, want) in [
            (vec![], vec![], both),
            (vec![over(GUILD, VIEW, NONE)], vec![], NONE),
            (vec![over(GUILD, READ, NONE)], vec![], VIEW),
            (vec![over(GUILD, VIEW, NONE), over(BOTS, NONE, VIEW)], vec![BOTS], both),
            // Of two roles, the one that allows wins, in any order.
            (
                vec![over(BOTS, NONE, VIEW), over(MODERATORS, VIEW, NONE)],
                vec![BOTS, MODERATORS],
                both,
            ),
            // The member's own has the last word.
            (vec![over(BOTS, NONE, VIEW), over(BOT, VIEW, NONE)], vec![BOTS], NONE),
            (vec![over(GUILD, VIEW, NONE), over(BOT, NONE, VIEW)], vec![], both),
            (vec![over(BOTS, VIEW, NONE)], vec![], both),
        ] {
            let found = in_channel(GUILD, Some(BOT), &theirs, &roles(both, NONE), &overwrites);
            assert_eq!(found, want, "{overwrites:?} {theirs:?}");
        }
    }

    #[test]
    fn an_administrator_holds_all_whatever_is_denied() {
        let denied = [Overwrite {
            id: GUILD,
            deny: Permissions::ALL,
            allow: NONE,
        }];
        let roles = roles(VIEW, Permissions::ADMINISTRATOR);
        assert_eq!(
            in_channel(GUILD, None, &[MODERATORS], &roles, &denied),
            Permissions::ALL
        );
        assert_eq!(in_channel(GUILD, None, &[], &roles, &denied), NONE);
    }
}
