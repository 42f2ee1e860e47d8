//! The promises of the Cloudflare Worker.

use super::{Mutation, Target};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        breaks: "the Worker's success page comes without anything being written",
        file: "src/relay/worker/durable_object.js",
        find: "this.storage.put({ [`line:${hash}`]: line, [`known:${hash}`]: known });",
        replace: "",
        target: Target::It,
        caught_by: "worker::plan::an_instance_that_ends_at_any_moment_loses_nothing_and_overshoots_nothing",
    },
    Mutation {
        breaks: "the Worker forgets at a restart what it has posted",
        file: "src/relay/worker/durable_object.js",
        find: "this.storage.put(`sent:${posting.lane.channel}`, posting.lane.budget.sentAt(now));",
        replace: "",
        target: Target::It,
        caught_by: "worker::plan::an_instance_that_ends_at_any_moment_loses_nothing_and_overshoots_nothing",
    },
    Mutation {
        breaks: "the Worker forgets at a restart what Discord has refused",
        file: "src/relay/worker/durable_object.js",
        find: "if (shut) this.storage.put(\"shut\", shut);",
        replace: "if (shut) return;",
        target: Target::It,
        caught_by: "worker::plan::an_instance_that_sleeps_forgets_no_refusal",
    },
    Mutation {
        breaks: "the Worker posts 31 a minute",
        file: "src/relay/worker/plan.js",
        find: "free.push(this.roomAt(this.limit.perMinute, WINDOW, now));",
        replace: "free.push(this.roomAt(this.limit.perMinute + 1, WINDOW, now));",
        target: Target::It,
        caught_by: "worker::budget::the_worker_and_the_relay_let_posts_go_at_the_same_moments",
    },
    Mutation {
        breaks: "the Worker posts six in two seconds",
        file: "src/relay/worker/plan.js",
        find: "this.roomAt(SHORT_POSTS, SHORT, now)",
        replace: "now",
        target: Target::It,
        caught_by: "worker::budget::the_worker_and_the_relay_let_posts_go_at_the_same_moments",
    },
    Mutation {
        breaks: "the Worker takes a repeated callback again",
        file: "src/relay/worker/plan.js",
        find: "if (this.known.has(hash)) return { verdict: \"safe\" };",
        replace: "",
        target: Target::It,
        caught_by: "worker::front::looking_twice_spends_nothing",
    },
    Mutation {
        breaks: "the Worker posts later codes of a link as if they were its first",
        file: "src/relay/worker/plan.js",
        find: "const behind = earlier > 0 || ",
        replace: "const behind = ",
        target: Target::It,
        caught_by: "worker::behind::of_a_links_codes_one_is_posted_and_later_ones_after_everybody_elses_first",
    },
    Mutation {
        breaks: "a code that dies in the Worker is not told",
        file: "src/relay/worker/plan.js",
        find: "if (line.kind === CODE && line.deadline + TELL_WITHIN > now) {",
        replace: "if (false) {",
        target: Target::It,
        caught_by: "worker::refusals::a_code_that_dies_is_told_and_after_ten_minutes_nobody_is",
    },
    Mutation {
        breaks: "a text that Discord refuses holds up its whole message in the Worker",
        file: "src/relay/worker/plan.js",
        find: "for (const line of lines) line.alone = true;",
        replace: "",
        target: Target::It,
        caught_by: "worker::refusals::a_text_that_discord_refuses_takes_nobody_else_with_it",
    },
];
