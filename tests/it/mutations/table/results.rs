//! The promises about results and tokens: what is written where, and what becomes of an answer that is not whole.

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
];
