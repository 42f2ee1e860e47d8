//! What the kernel lets others have of the process: no core dump, no memory of another's reading.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::service::test_support::Site;
use crate::tally::{Tally, tell};

#[test]
fn a_running_service_dumps_no_core() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let of_it = format!("/proc/{}", service.pid());
    let limits = fs::read_to_string(format!("{of_it}/limits")).expect("Linux tells limits");
    let core = limits.lines().find(|l| l.starts_with("Max core file size"));
    let numbers: Vec<_> = core.expect("it is listed").split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"], "{limits}");
    // The kernel gives what a process must not dump to root alone: no other user can attach to it either.
    let owner = fs::metadata(format!("{of_it}/environ")).expect("it is there").uid();
    assert_eq!(owner, 0, "others of the same user may read its memory");
    service.drain();
    tell(
        "secrets: core dumps",
        Tally {
            tried: 1,
            survived: 1,
            ..Tally::default()
        },
    );
}
