//! What is judged beside the calls: deliveries, invitations, the pace of posts, and what is left when a process ends.

use super::*;

impl Discord {
    /// Judges a delivery before it is made.
    pub fn judge_delivery(&mut self, sink: &'static str, id: GrantId) {
        if !self.view.with(|view| view.owes_delivery(id, sink)) {
            self.breaks(format!("{sink}: the result of grant {id} is delivered and is not owed"));
        }
    }

    /// A result arrives at a sink.
    pub fn accept(&mut self, sink: &'static str, id: GrantId) {
        *self.results.entry((sink, id)).or_default() += 1;
        self.note(format!("{sink} has the result of {id}"));
    }

    /// A result says that its person was sent a fresh link.
    pub fn judge_invitation(&mut self, result: &str) {
        let result: serde_json::Value = serde_json::from_str(result).expect("a result is JSON");
        let dead = result["type"] == "authorization.expired" || result["type"] == "authorization.lost";
        if dead != result["reinvited"].is_boolean() {
            self.breaks(format!(
                "whether somebody was invited is told in the wrong place: {result}"
            ));
        }
        let person: Option<UserId> = result["state"]["user_id"].as_str().and_then(|id| id.parse().ok());
        let shown = self.direct.iter().any(|(to, _)| Some(*to) == person);
        if result["reinvited"] == true && !shown {
            self.breaks(format!("nobody was invited, and yet: {result}"));
        }
    }

    /// A post arrives at the results' webhook: never more than 30 in any closed minute.
    pub fn count_post(&mut self) {
        let now = self.now();
        self.posts.push_back(now);
        while self
            .posts
            .front()
            .is_some_and(|at| now.since(*at) > Duration::from_mins(1))
        {
            self.posts.pop_front();
        }
        if self.posts.len() > 30 {
            self.breaks(format!("{} webhook posts within a minute", self.posts.len()));
        }
    }

    /// What must hold at any moment.
    pub fn look_around(&mut self) {
        let now = self.now();
        let mut found = self.view.with(|view| std::mem::take(&mut view.broken));
        for (token, issued) in self.tokens.iter().filter(|(_, t)| t.alive) {
            let waits_since = issued.handed_at.filter(|at| now.since(*at) > STORED_WITHIN);
            if waits_since.is_some() && !self.view.with(|view| view.tokens.contains(token)) {
                found.push(format!("LEFT {token} was received, and is neither stored nor revoked"));
            }
        }
        for broken in found {
            self.breaks(broken);
        }
    }

    /// The process is gone. A token that it had not stored yet is nobody's from now on.
    pub fn bury(&mut self) {
        for (name, issued) in &mut self.tokens {
            if issued.handed_at.is_some() && !self.view.with(|view| view.tokens.contains(name)) {
                issued.handed_at = None;
                if let Some(code) = self.codes.get_mut(&issued.code) {
                    code.unclear = true;
                }
            }
        }
        self.on_the_wire.clear();
        // Whether an intent that is on the disk was followed by its request, the service cannot know.
        let interrupted: Vec<String> = self.view.with(|view| {
            let intents = view.open.values().filter_map(|g| match &g.state {
                State::Exchanging { code, .. } => Some(code.expose().to_owned()),
                _ => None,
            });
            intents.collect()
        });
        for code in interrupted {
            self.codes.get_mut(&code).into_iter().for_each(|c| c.unclear = true);
        }
    }
}
