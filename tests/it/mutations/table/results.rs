//! The promises about results, tokens and clocks: what is written where, what becomes of an answer that is not whole, and
//! what tells the time.

use super::{Mutation, Target};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        breaks: "results go on into a file that was moved or removed",
        file: "src/delivery/jsonl.rs",
        find: "if there.is_ok_and(|there|",
        replace: "if open.len() < u64::MAX || there.is_ok_and(|there|",
        target: Target::Lib,
        caught_by: "delivery::jsonl::tests::results_go_to_the_path_when_its_file_was_moved_removed_or_replaced",
    },
    Mutation {
        breaks: "a failed write makes a truncated file of results longer",
        file: "src/delivery/jsonl.rs",
        find: "set_len(whole.min(self.length()?))",
        replace: "set_len(whole.max(4096))",
        target: Target::Lib,
        caught_by: "delivery::jsonl::tests::a_file_that_was_truncated_gets_no_nul_bytes_when_a_write_fails",
    },
    Mutation {
        breaks: "SIGHUP opens no new file of results",
        file: "src/cli/run.rs",
        find: "service.sinks.iter().for_each(|sink| sink.reopen());",
        replace: "",
        target: Target::It,
        caught_by: "service::sinks::results_are_found_at_their_path_or_in_the_rotated_file_whatever_is_done_to_the_file",
    },
    Mutation {
        breaks: "a large token answer is not read",
        file: "src/discord/token_endpoint.rs",
        find: "const ANSWER_CAP: usize = 4 * 1024 * 1024;",
        replace: "const ANSWER_CAP: usize = 64 * 1024;",
        target: Target::It,
        caught_by: "discord::token_endpoint::an_answer_of_three_megabytes_with_its_token_last_is_read",
    },
    Mutation {
        breaks: "the token in an answer that breaks off is thrown away",
        file: "src/discord/token_endpoint/token.rs",
        find: "    let (body, _) = http::read_until(response, cap, is_enough).await;\n",
        replace: "    let (body, ended) = http::read_until(response, cap, is_enough).await;\n    ended?;\n",
        target: Target::It,
        caught_by: "discord::token_endpoint::a_token_is_taken_as_soon_as_it_is_there_whatever_becomes_of_the_rest",
    },
    Mutation {
        breaks: "a code that was answered with 200 is presented again",
        file: "src/grant/transition.rs",
        find: "Event::Unreadable => self.ends(Outcome::Lost, \"answer_unreadable\", at),",
        replace: "Event::Unreadable => again_after(retry::AFTER_CUT_OFF, presentations),",
        target: Target::Lib,
        caught_by: "grant::transition::tests::a_code_that_was_answered_with_200_is_never_presented_again",
    },
    Mutation {
        breaks: "what was not granted is asked for",
        file: "src/steps/fetch.rs",
        find: "if !scopes.is_empty() && ",
        replace: "if scopes.len() > 99 && ",
        target: Target::Lib,
        caught_by: "steps::fetch::tests::what_was_not_granted_is_not_asked_for_and_is_null_in_the_result",
    },
    Mutation {
        breaks: "a resource's 401 ends a sign-in whose user can be read",
        file: "src/steps/fetch.rs",
        find: "Some(FetchAnswer::Data { .. }) => FetchAnswer::Refused(Reason::new(\"http_401\")),",
        replace: "Some(FetchAnswer::Data { .. }) => return Err(Event::Unauthorized),",
        target: Target::Lib,
        caught_by: "steps::fetch::tests::a_401_of_a_resource_ends_no_sign_in_whose_user_can_be_read",
    },
    Mutation {
        breaks: "one person may bring about any number of refusals",
        file: "src/steps/fetch.rs",
        find: "self.refusals(work.asked) >= most",
        replace: "self.refusals(work.asked) >= 1_000 * most",
        target: Target::Lib,
        caught_by: "steps::fetch::tests::no_person_can_bring_about_more_than_a_few_refusals",
    },
];
