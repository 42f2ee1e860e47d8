//! No secret leaves the process but where it belongs: not in a log at any level, not in an error, not in what `debug`
//! prints, not in the files that are left once everything is closed.

mod grep;
mod printed;
mod process;
mod scenario;
