//! What must have become of everything once it is quiet.

use std::collections::BTreeMap;

use codeferry::grant::Outcome;
use codeferry::ids::GrantId;

use super::discord::Discord;
use super::script::LANES;

/// What the promises came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Codes and denials without an outcome.
    pub lost: u64,
    /// Codes presented again after their token was received.
    pub twice: u64,
    /// Received tokens that are alive.
    pub left_behind: u64,
    /// Live tokens whose answer never reached a process that could store it.
    pub orphans: u64,
}

/// Checks everything, adds what is broken to the world's list, and says how much of each.
pub fn judge(discord: &mut Discord) -> Sums {
    let mut sums = Sums::default();
    let mut broken = Vec::new();
    let (closed, open, of_code, of_line) = discord.view.with(|view| {
        let open: Vec<GrantId> = view.open.keys().copied().collect();
        (view.closed.clone(), open, view.of_code.clone(), view.of_line.clone())
    });
    for id in &open {
        broken.push(format!("grant {id} is open although it is quiet"));
    }
    for (name, code) in &discord.codes {
        let grants = of_code.get(&code.hash).cloned().unwrap_or_default();
        match (code.authentic, grants.len()) {
            (false, 0) => {}
            (false, _) => broken.push(format!("{name} came from a stranger and was taken in")),
            (true, 1) => {}
            (true, 0) => {
                sums.lost += 1;
                broken.push(format!("LOST {name} reached the channel and has no outcome"));
            }
            (true, n) => broken.push(format!("{name} has {n} grants")),
        }
        for outcome in grants.iter().filter_map(|id| closed.get(id)).map(|c| c.outcome) {
            let fits = match outcome {
                Outcome::Completed | Outcome::WrongPerson | Outcome::Failed => code.consumed,
                // Only an answer that did not come, or did not tell, is lost.
                Outcome::Lost => code.unclear,
                Outcome::Duplicate => code.presented == 0 || code.unclear,
                Outcome::Denied => false,
                Outcome::Expired | Outcome::Refused | Outcome::Dropped => true,
            };
            if !fits {
                broken.push(format!("{name} ended as {outcome}, which is not what happened"));
            }
        }
    }
    for line in &discord.denials {
        let grants = of_line.get(line).map_or(0, std::collections::BTreeSet::len);
        if grants != 1 {
            sums.lost += u64::from(grants == 0);
            broken.push(format!(
                "LOST the denial in line {} of message {} has {grants} grants",
                line.1, line.0
            ));
        }
    }
    for (id, grant) in &closed {
        let given = |sink| discord.results.get(&(sink, *id)).copied().unwrap_or(0);
        if grant.outcome == Outcome::Duplicate {
            if given("app") + given("people") > 0 {
                broken.push(format!("grant {id} is a duplicate and has a result"));
            }
            continue;
        }
        if given("app") == 0 {
            broken.push(format!("the application never got the result of grant {id}"));
        }
        if given("people") != 1 {
            broken.push(format!("the result of grant {id} was shown {} times", given("people")));
        }
    }
    discord.view.with(|view| {
        for (name, issued) in discord.tokens.iter().filter(|(_, t)| t.alive) {
            if view.tokens.contains(name) || issued.handed_at.is_some() {
                sums.left_behind += 1;
                broken.push(format!("LEFT {name} was received and is alive"));
            } else {
                sums.orphans += 1;
            }
        }
    });
    for (channel, messages) in &discord.channels {
        for (id, posted) in messages {
            let webhook = posted.message.webhook;
            if webhook.is_some_and(|webhook| LANES.contains(&(*channel, webhook))) {
                broken.push(format!("message {id} is spent and was not removed"));
            }
        }
    }
    for what in broken {
        discord.breaks(what);
    }
    sums.twice = discord.broken.iter().filter(|b| b.contains("TWICE")).count() as u64;
    sums.left_behind += discord
        .broken
        .iter()
        .filter(|b| b.contains("is neither stored nor"))
        .count() as u64;
    sums
}

/// How grants ended.
pub fn outcomes(discord: &Discord) -> BTreeMap<Outcome, u64> {
    let mut outcomes = BTreeMap::new();
    discord.view.with(|view| {
        for grant in view.closed.values() {
            *outcomes.entry(grant.outcome).or_default() += 1;
        }
    });
    outcomes
}
