//! The size of the stripped binary, and how long a release build takes from cold.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::ensure;
use tokio::time::Instant;

use crate::report::{Report, Row};

#[expect(clippy::disallowed_methods, reason = "a build takes as long as the machine needs")]
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    if report.quick {
        report.add(size_of(Path::new(env!("CARGO_BIN_EXE_codeferry")))?);
        report.add(Row::absent("cold release build", "a quick run"));
        return Ok(());
    }
    let target = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let began = Instant::now();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--offline", "--bin", "codeferry"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let took = began.elapsed().as_secs_f64();
    ensure!(built.success(), "the release build failed");
    report.add(size_of(&target.path().join("release/codeferry"))?);
    report.add(Row::new("cold release build", took, "s").at_most(240.0));
    Ok(())
}

fn size_of(binary: &Path) -> anyhow::Result<Row> {
    let size = fs::metadata(binary)?.len() as f64;
    Ok(Row::new("stripped binary", size / 1e6, "MB").at_most(18.0))
}
