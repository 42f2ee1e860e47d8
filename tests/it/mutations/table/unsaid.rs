//! The promise that nothing goes unsaid: causes, outcomes, and what a start lacks.

use super::{Mutation, Target};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        breaks: "an id is read from a JSON number, which may have been rounded",
        file: "src/ids.rs",
        find: "d.deserialize_str(IdVisitor).map($name)",
        replace: "serde_json::Value::deserialize(d)?.to_string().trim_matches('\"').parse().map_err(de::Error::custom)",
        target: Target::Lib,
        caught_by: "ids::tests::ids_are_read_from_strings_of_17_to_20_digits_and_never_from_numbers",
    },
    Mutation {
        breaks: "an unknown authority reads like any other TLS failure",
        file: "src/http.rs",
        find: "if *tls == unknown { Self::UnknownCa }",
        replace: "if *tls == unknown { Self::Tls }",
        target: Target::Lib,
        caught_by: "http::tests::the_cause_is_found_however_deep_it_is_wrapped",
    },
    Mutation {
        breaks: "a proxy's refusal reads like a network that is down",
        file: "src/http.rs",
        find: "found = Self::Proxy;",
        replace: "found = Self::Other;",
        target: Target::It,
        caught_by: "discord::callback_post::a_proxy_that_refuses_is_told_apart_from_a_network_that_is_down",
    },
    Mutation {
        breaks: "a receiver's status is not kept",
        file: "src/delivery/http.rs",
        find: "let reason = http::status_reason(status).to_string();",
        replace: "let reason = \"not 2xx\".to_owned();\n                    let _ = status;",
        target: Target::It,
        caught_by: "service::sinks::a_receivers_status_and_the_next_attempt_are_told_in_the_log_and_by_queue_show",
    },
    Mutation {
        breaks: "failed calls are forgotten by the store",
        file: "src/store/record.rs",
        find: "if self.failed.is_empty() {",
        replace: "if true {",
        target: Target::Lib,
        caught_by: "store::format_tests::failed_calls_are_read_back_and_a_record_without_them_is_as_it_was",
    },
    Mutation {
        breaks: "every failed call is a line of its own",
        file: "src/actors/stage/health.rs",
        find: "&& failing.last.elapsed() >= QUIET",
        replace: "",
        target: Target::Lib,
        caught_by: "actors::stage::health::tests::a_trouble_is_told_of_when_it_begins_and_when_it_is_over_and_not_in_between",
    },
    Mutation {
        breaks: "outcomes are silent",
        file: "src/actors/journal/open_grants/changed.rs",
        find: "if before.and_then(end).is_none()",
        replace: "if before.is_none()",
        target: Target::It,
        caught_by: "service::sinks::a_receivers_status_and_the_next_attempt_are_told_in_the_log_and_by_queue_show",
    },
];
