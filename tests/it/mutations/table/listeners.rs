//! The promises of the listeners: who may connect, for how long, and what the control interface asks first.

use super::{Mutation, Target};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        breaks: "a connection that brings no request stays",
        file: "src/server/bounds.rs",
        find: "end.min(self.since.get() + WAIT.min(left))",
        replace: "end.max(self.since.get() + WAIT.min(left))",
        target: Target::Lib,
        caught_by: "server::tests::a_connection_that_brings_no_whole_request_is_closed_within_seconds",
    },
    Mutation {
        breaks: "a connection may wait for ever, if each wait is short",
        file: "src/server/bounds.rs",
        find: "ALL_WAITS.saturating_sub(self.waited.get())",
        replace: "ALL_WAITS",
        target: Target::Lib,
        caught_by: "server::tests::a_connection_may_ask_again_but_waits_and_age_are_bounded_in_all",
    },
    Mutation {
        breaks: "an answer that leaves a body unread keeps its connection",
        file: "src/server.rs",
        find: "if !pace.is_answering() || pace.is_old() {",
        replace: "if pace.is_old() {",
        target: Target::Lib,
        caught_by: "server::tests::a_connection_that_brings_no_whole_request_is_closed_within_seconds",
    },
    Mutation {
        breaks: "no connection gives way to a new one",
        file: "src/server/bounds.rs",
        find: "            self.close_oldest()?;",
        replace: "            return None;",
        target: Target::Lib,
        caught_by: "server::tests::the_oldest_connection_without_a_whole_request_gives_way",
    },
    Mutation {
        breaks: "one address may hold every connection",
        file: "src/server/bounds.rs",
        find: ">= OF_ONE_ADDRESS {",
        replace: ">= usize::MAX - OF_ONE_ADDRESS {",
        target: Target::Lib,
        caught_by: "server::tests::one_address_has_a_bound_of_its_own_and_loopback_has_none",
    },
    Mutation {
        breaks: "a body is read before the token",
        file: "src/control/server.rs",
        find: "        match access {\n",
        replace: "        if access == Access::Nothing {\n            drop(request.body(LONGEST_BODY).await);\n            return refused(Refusal::new(401, \"\"));\n        }\n        match access {\n",
        target: Target::It,
        caught_by: "service::control::no_body_is_read_before_the_token_and_none_of_more_than_4_kib",
    },
    Mutation {
        breaks: "the metrics token opens everything",
        file: "src/control/server.rs",
        find: "== Some(shown) => Access::Metrics,",
        replace: "== Some(shown) => Access::All,",
        target: Target::It,
        caught_by: "service::control::the_metrics_token_opens_the_metrics_and_nothing_else",
    },
    Mutation {
        breaks: "a control token of one letter will do",
        file: "src/config/secret_reader.rs",
        find: "self.is_long(name, token.len()).then_some(token)",
        replace: "Some(token)",
        target: Target::It,
        caught_by: "config::secrets::tokens_of_the_control_interface_are_long_and_differ",
    },
    Mutation {
        breaks: "the control interface listens on any network",
        file: "src/config/relations.rs",
        find: "&& !tree.is_true(\"control.insecure_network\")",
        replace: "&& false",
        target: Target::It,
        caught_by: "config::faults::the_control_interface_stays_on_this_machine_unless_the_operator_insists",
    },
];
