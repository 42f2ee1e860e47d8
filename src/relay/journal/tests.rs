use super::*;
use crate::grant::Reason;
use crate::ids::Lane;
use crate::relay::queue::Content;
use crate::secret::{AuthorizationCode, RawState};
use crate::store::Sync;
use crate::time::SteadyClock;

const NOON: Timestamp = Timestamp::from_secs(1_700_000_000);

fn line(n: u8, content: Content) -> Line {
    Line {
        hash: CodeHash([n; 16]),
        lane: Lane(3),
        came_at: NOON,
        deadline: NOON + Duration::from_secs(100),
        content,
        state: RawState::new("s1.STATE-THAT-IS-SEALED"),
        behind: n == 3,
        alone: false,
    }
}

fn lines() -> [Line; 3] {
    [
        line(1, Content::Code(AuthorizationCode::new("CODE-THAT-IS-SEALED"))),
        line(2, Content::Denied(Reason::new("access_denied"))),
        line(3, Content::Expired),
    ]
}

fn options(folder: &Path, clock: SharedClock) -> StoreOptions {
    StoreOptions {
        sync: Sync::Counted,
        ..StoreOptions::new(folder.join("store"), clock)
    }
}

#[tokio::test]
async fn what_the_relay_journals_is_found_again_and_what_is_settled_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(folder.path(), SteadyClock::starting_at(NOON));
    let lines = lines();
    let until = NOON + Duration::from_mins(10);
    let known = Known { until, nonce: [9; 8] };
    let budgets = [BudgetKey::Channel(ChannelId(7)), BudgetKey::Webhook(WebhookId(7))];
    {
        let (journal, found) = open_inline(&options).expect("opens");
        assert!(found.waiting.is_empty() && found.known.is_empty());
        for line in &lines {
            journal.accept(line, known).await.expect("kept");
        }
        journal.spend(budgets[0], vec![until]).await.expect("kept");
        journal.spend(budgets[1], vec![NOON, until]).await.expect("kept");
        journal.settle(&lines[1..2]).await.expect("settled");
        journal.close().await.expect("closed");
    }
    let (journal, mut found) = open_inline(&options).expect("opens again");
    found.waiting.sort_by_key(Line::rank);
    assert_eq!(found.waiting, [lines[0].clone(), lines[2].clone()]);
    assert_eq!(found.known.len(), 3, "a repetition is known after it is posted too");
    assert!(found.known.values().all(|k| *k == known));
    assert_eq!(found.spending[&budgets[0]], [until]);
    assert_eq!(found.spending[&budgets[1]], [NOON, until]);
    let expired = Line {
        content: Content::Expired,
        ..lines[0].clone()
    };
    journal.rewrite(&expired).await.expect("rewritten");
    let all = found.known.keys().copied().collect();
    journal.forget(all).await.expect("forgotten");
    journal.close().await.expect("closed");
    let (_, found) = open_inline(&options).expect("opens again");
    assert!(found.known.is_empty());
    assert!(found.waiting.contains(&expired) && found.waiting.len() == 2);
}

#[tokio::test]
async fn codes_are_sealed_and_their_key_goes_with_the_hours_last_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = SteadyClock::starting_at(NOON);
    let options = options(folder.path(), clock.clone());
    let (journal, _) = open_inline(&options).expect("opens");
    let lines = lines();
    let known = Known {
        until: NOON + Duration::from_mins(10),
        nonce: [9; 8],
    };
    for line in &lines {
        journal.accept(line, known).await.expect("kept");
    }
    let files = files_below(folder.path());
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).expect("read");
        for secret in ["CODE-THAT", "STATE-THAT"] {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{secret} in {}", file.display());
        }
    }
    let keys = || {
        std::fs::read_dir(folder.path().join("keys/seal"))
            .expect("listed")
            .count()
    };
    let later = NOON + Duration::from_hours(1);
    journal.settle(&lines[..2]).await.expect("settled");
    journal.maintain(later).await.expect("maintained");
    assert_eq!(keys(), 1, "one line waits");
    journal.settle(&lines[2..]).await.expect("settled");
    journal.maintain(NOON).await.expect("maintained");
    assert_eq!(keys(), 1, "the hour is not over");
    journal.maintain(later).await.expect("maintained");
    assert_eq!(keys(), 0);
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}
