//! What is taken in, what is left in the channel, and what is said about it.

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

/// A message of version 1 with these results.
fn packed(results: &[Result<&str, &str>]) -> String {
    let redirects: Vec<_> = results
        .iter()
        .map(|result| Redirect {
            time: START.as_secs(),
            result: result.map(str::to_owned).map_err(str::to_owned),
            state: None,
        })
        .collect();
    v1::encode(BOT, &redirects, &key())
}

#[test]
fn a_message_is_counted_and_named_once_however_often_it_is_read() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let log = logged(|| {
        ::metrics::with_local_recorder(&recorder, || {
            paused(|| async {
                let site = Site::listening(&Options::default());
                site.put(START, None, site.code());
                site.put(START, Some(WebhookId(WEBHOOK.0 + 1)), site.code());
                site.put(START, Some(WEBHOOK), "no code".to_owned());
                let code = site.post();
                site.bring(code).await;
                sleep(20 * POLL).await;
                assert_eq!(site.received().await, 1);
            });
        });
    });
    assert_eq!(log.matches("cannot be read").count(), 1, "{log}");
    let counted = recorder.handle().render();
    for (result, count) in [("foreign", 2), ("malformed", 1), ("accepted", 1)] {
        let line = format!("codeferry_messages_total{{result=\"{result}\"}} {count}");
        assert!(counted.lines().any(|l| l == line), "`{line}` is missing in:\n{counted}");
    }
    // The gateway and the history may bring it at the same moment; later readings know it.
    let repeats = counted
        .lines()
        .find_map(|l| l.strip_prefix("codeferry_messages_total{result=\"duplicate\"} "));
    assert!(repeats.is_some_and(|n| n == "0" || n == "1"), "{counted}");
}

#[test]
fn a_probe_becomes_no_grant_is_counted_once_for_each_way_and_is_left_to_whoever_posted_it() {
    let recorder = PrometheusBuilder::new().build_recorder();
    ::metrics::with_local_recorder(&recorder, || {
        paused(|| async {
            let site = Site::listening(&Options::default());
            let probe = site.put(START, Some(WEBHOOK), v1::encode_probe(BOT, START, &key()));
            site.bring(probe).await;
            let beside = site.put(
                START,
                Some(WEBHOOK),
                packed(&[Err("codeferry_probe"), Ok("code-number-00000001")]),
            );
            site.bring(beside).await;
            sleep(5 * POLL).await;
            assert_eq!(site.received().await, 1, "the code beside a probe");
            assert!(site.outside.removals.borrow().is_empty(), "`doctor` removes it");
            site.outside.messages.borrow_mut().remove(&probe);
            site.put(site.clock.now(), None, "talk".to_owned());
            sleep(2 * POLL).await;
            assert!(site.cursor().await >= Some(probe), "the cursor goes on");
        });
    });
    let counted = recorder.handle().render();
    for (result, count) in [("probe_by_gateway", 1), ("probe_by_history", 1), ("accepted", 1)] {
        let line = format!("codeferry_messages_total{{result=\"{result}\"}} {count}");
        assert!(counted.lines().any(|l| l == line), "`{line}` is missing in:\n{counted}");
    }
}

#[test]
fn nothing_is_taken_while_the_disk_is_nearly_full_and_all_of_it_afterwards() {
    let log = logged(|| {
        paused(|| async {
            let site = Site::listening(&Options::default());
            site.room.store(Room::INTAKE_FLOOR - 1, Ordering::Relaxed);
            sleep(seconds(2)).await;
            site.put(START, Some(WEBHOOK), "no code".to_owned());
            for _ in 0..5 {
                let id = site.post();
                site.bring(id).await;
                sleep(seconds(8)).await;
            }
            assert_eq!(site.received().await, 0);
            site.room.store(Room::INTAKE_FLOOR, Ordering::Relaxed);
            sleep(POLL + seconds(2)).await;
            assert_eq!(site.open().await, 5, "the channel had them");
        });
    });
    assert_eq!(log.matches("nearly full").count(), 1, "{log}");
    assert_eq!(log.matches("cannot be read").count(), 1, "{log}");
    assert_eq!(log.matches("has room again").count(), 1, "{log}");
}

#[test]
fn a_full_journal_leaves_codes_in_the_channel_and_takes_them_once_it_has_room() {
    let log = logged(|| {
        paused(|| async {
            let site = Site::listening(&Options {
                max_open: 5,
                ..Options::default()
            });
            let first: Vec<_> = (0..5).map(|_| site.post()).collect();
            site.bring(first[0]).await;
            sleep(seconds(60)).await;
            assert_eq!(site.open().await, 5);
            let second: Vec<_> = (0..8).map(|_| site.post()).collect();
            site.bring(second[7]).await;
            sleep(seconds(30)).await;
            assert_eq!(site.open().await, 5);
            sleep(seconds(5)).await;
            let late = site.post();
            site.bring(late).await;
            // The first five expire at 100 s: as many others enter, the oldest first, while they live.
            sleep(seconds(20)).await;
            assert_eq!((site.received().await, site.open().await), (10, 5));
            let cursor = site.cursor().await;
            assert!(
                cursor < Some(second[0]),
                "the cursor has passed codes that were not taken"
            );
            sleep(seconds(200)).await;
            assert_eq!(
                (site.received().await, site.open().await),
                (14, 0),
                "each has an outcome"
            );
            assert!(site.cursor().await > Some(first[4]));
        });
    });
    assert!((1..=3).contains(&log.matches("journal.max_open").count()), "{log}");
}

#[test]
fn a_message_with_more_codes_than_the_journal_may_hold_enters_an_empty_one() {
    paused(|| async {
        let site = Site::listening(&Options {
            max_open: 2,
            ..Options::default()
        });
        let three = packed(&[
            Ok("first-code-number-1"),
            Ok("first-code-number-2"),
            Ok("first-code-number-3"),
        ]);
        site.put(START, Some(WEBHOOK), three);
        sleep(POLL).await;
        assert_eq!(site.open().await, 3);
    });
}

#[test]
fn content_that_never_comes_along_is_named_once_with_the_cure() {
    let log = logged(|| {
        paused(|| async {
            let site = Site::listening(&Options::default());
            for _ in 0..6 {
                let id = site.put(site.clock.now(), Some(WEBHOOK), String::new());
                site.bring(id).await;
                sleep(seconds(15)).await;
            }
            assert_eq!(site.received().await, 0);
        });
    });
    assert_eq!(log.matches("MESSAGE CONTENT INTENT").count(), 1, "{log}");
}

#[test]
fn content_that_only_the_history_shows_is_taken_at_once() {
    paused(|| async {
        let site = Site::listening(&Options::default());
        sleep(seconds(1)).await;
        let blank = ChannelMessage {
            id: site.post(),
            channel: CHANNEL,
            webhook: Some(WEBHOOK),
            content: String::new(),
        };
        site.notes.send(GatewayNote::Message(blank)).await.expect("it listens");
        sleep(seconds(1)).await;
        assert_eq!(site.open().await, 1);
    });
}

#[test]
fn a_reading_under_way_appends_nothing_after_the_drain() {
    paused(|| async {
        let mut site = Site::new(&Options::default());
        // One in the live window, one in the gap below it.
        let live = site.post();
        site.post_at(START - seconds(300));
        site.outside.page_takes.set(seconds(3));
        site.listen();
        sleep(seconds(1)).await;
        let listener = site.listener.clone().expect("it listens");
        listener.send(DrainIntake).await.expect("it lives");
        site.bring(live).await;
        sleep(3 * POLL).await;
        assert_eq!((site.received().await, site.cursor().await), (0, None));
        assert_eq!(site.outside.pages.borrow().len(), 1, "no further page is read");
    });
}

#[test]
fn a_message_that_cannot_be_read_is_looked_at_again_while_it_lives() {
    paused(|| async {
        for answered in [true, false] {
            let mut site = Site::new(&Options {
                after_receipt: AfterReceipt::Delete,
                ..Options::default()
            });
            site.listen();
            let right = site.keys.clone();
            let wrong = Keys::from(&Key::new([9; 32]));
            let code = packed(&[Ok("a-code-that-nobody-takes")]);
            site.keys.replace(&wrong);
            let unread = site.put(START, Some(WEBHOOK), code);
            site.bring(unread).await;
            sleep(seconds(50)).await;
            // Known ids are old enough to move the cursor, if nothing holds it.
            site.put(site.clock.now(), None, "not ours".to_owned());
            sleep(seconds(20)).await;
            assert_eq!(site.received().await, 0);
            assert!(site.outside.ids().contains(&unread));
            let cursor = site.cursor().await;
            assert!(cursor < Some(unread), "a restart would not read it: {cursor:?}");
            if answered {
                right.replace(&Keys::from(&key()));
                let listener = site.listener.clone().expect("it listens");
                listener.send(LookAgain).await.expect("it lives");
                sleep(seconds(1)).await;
                assert_eq!(site.open().await, 1);
            }
            sleep(2 * LIFETIME).await;
            site.post();
            sleep(LIFETIME).await;
            assert!(site.cursor().await > Some(unread), "it holds the cursor for ever");
        }
    });
}

#[test]
fn messages_that_stay_or_go_unread_hold_the_cursor_only_while_they_live() {
    for after_receipt in [AfterReceipt::Keep, AfterReceipt::Delete] {
        paused(|| async {
            let site = Site::listening(&Options {
                after_receipt,
                ..Options::default()
            });
            let unread = site.put(START, Some(WEBHOOK), "no code".to_owned());
            let gone = site.put(START, Some(WEBHOOK), "no code".to_owned());
            site.put(START, Some(WEBHOOK), String::new());
            sleep(2 * POLL).await;
            site.outside.messages.borrow_mut().remove(&gone);
            sleep(LIFETIME).await;
            site.post();
            sleep(LIFETIME).await;
            assert!(site.cursor().await > Some(unread), "{after_receipt:?}");
        });
    }
}

#[test]
fn the_first_unreadable_message_of_each_cause_is_said_at_once_and_then_one_a_minute() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let log = logged(|| {
        ::metrics::with_local_recorder(&recorder, || {
            paused(|| async {
                let site = Site::listening(&Options::default());
                let other = v1::encode(UserId(BOT.0 - 8), &[], &key());
                for _ in 0..8 {
                    site.put(site.clock.now(), Some(WEBHOOK), other.clone());
                    site.put(site.clock.now(), Some(WEBHOOK), "no code".to_owned());
                    sleep(POLL).await;
                }
            });
        });
    });
    let said = |what: &str| log.lines().filter(|l| l.contains("ERROR") && l.contains(what)).count();
    let mention = "mentions 1536000000000000001, this bot is 1536000000000000009: set relay.bot_id";
    assert_eq!(
        (said(mention), said("neither version 0 nor version 1")),
        (2, 2),
        "{log}"
    );
    let counted = recorder.handle().render();
    for cause in ["mention", "version"] {
        let line = format!("codeferry_unreadable_messages_total{{lane=\"0\",cause=\"{cause}\"}} 8");
        assert!(counted.lines().any(|l| l == line), "`{line}` is missing in:\n{counted}");
    }
}
