//! What the history's reading finds, and where the cursor goes.

use super::*;

/// Puts messages of no concern into the channel, one a second from a moment on.
fn chatter(site: &Site, from: Timestamp, messages: u64) {
    for n in 0..messages {
        site.put(from + seconds(n), None, "talk".to_owned());
    }
}

#[test]
fn a_long_gap_does_not_hold_up_the_live_window() {
    paused(|| async {
        let week_ago = START - seconds(7 * 86_400);
        let mut site = Site::new(&Options {
            cursor: Some(MessageId(snowflake_at(week_ago))),
            ..Options::default()
        });
        chatter(&site, week_ago + seconds(1), 10_000);
        let dead = site.post_at(week_ago + seconds(5_000));
        site.outside.page_takes.set(seconds(1));
        site.listen();
        let mut posted = 0;
        while site.received().await == posted || site.cursor().await < Some(dead) {
            site.post();
            posted += 1;
            sleep(POLL + seconds(3)).await;
            assert!(site.received().await >= posted, "the last code waits for the gap");
            assert!(posted < 100, "the gap is never read");
        }
        assert!(posted > 5, "the gap was read before a code could come: {posted}");
    });
}

#[test]
fn a_gap_whose_reading_breaks_off_is_gone_on_with_where_it_stopped() {
    paused(|| async {
        let day_ago = START - seconds(86_400);
        let mut site = Site::new(&Options {
            cursor: Some(MessageId(snowflake_at(day_ago))),
            ..Options::default()
        });
        chatter(&site, day_ago + seconds(1), 5_000);
        let last = site.post_at(day_ago + seconds(6_000));
        site.outside.pages_until_failure.set(Some(80));
        site.listen();
        sleep(seconds(5)).await;
        let pages = site.outside.pages.borrow().len();
        assert!((80..90).contains(&pages), "it did not break off: {pages}");
        assert!(site.cursor().await > Some(MessageId(snowflake_at(day_ago + seconds(3_000)))));
        sleep(2 * POLL).await;
        assert_eq!(site.stats().await.since_start.expect("it runs")["expired"], 1);
        assert!(site.cursor().await > Some(MessageId(last.0 - (31_000 << 22))));
        let pages = site.outside.pages.borrow().len();
        assert!(pages < 130, "what was read before was read again: {pages}");
    });
}

#[test]
fn a_jump_of_the_wall_clock_reads_the_history_at_once() {
    paused(|| async {
        let mut site = Site::new(&Options::default());
        site.listen();
        sleep(POLL + POLL / 2).await;
        let read = |site: &Site| site.outside.pages.borrow().len();
        for by_ms in [3_600_000, -3_600_000] {
            let before = read(&site);
            site.wall.step(by_ms);
            sleep(seconds(1) + POLL / 100).await;
            assert!(read(&site) > before, "{by_ms}");
            sleep(POLL * 9 / 10).await;
        }
    });
}

#[test]
fn an_idle_channel_costs_one_page_a_reading() {
    paused(|| async {
        let mut site = Site::new(&Options::default());
        site.post_at(START - seconds(600));
        site.listen();
        sleep(3 * POLL).await;
        let before = site.outside.pages.borrow().len();
        sleep(10 * POLL).await;
        assert_eq!(site.outside.pages.borrow().len() - before, 10);
    });
}

#[test]
fn a_message_that_becomes_visible_late_is_found_below_newer_ones() {
    paused(|| async {
        let site = Site::listening(&Options::default());
        for _ in 0..4 {
            let late = site.post_hidden_for(seconds(29));
            for _ in 0..3 {
                sleep(seconds(9)).await;
                site.post();
                assert!(site.cursor().await < Some(late), "the cursor has passed a message");
            }
            sleep(seconds(20)).await;
        }
        sleep(2 * POLL).await;
        assert_eq!(site.received().await, 16);
        sleep(seconds(60)).await;
        let newest = *site.outside.ids().last().expect("messages");
        assert!(
            site.cursor().await > Some(MessageId(newest.0 - (31_000 << 22))),
            "the cursor stays behind"
        );
    });
}

#[test]
fn hints_in_any_order_are_taken_once_and_move_no_cursor() {
    paused(|| async {
        let site = Site::listening(&Options::default());
        sleep(seconds(1)).await;
        let ids: Vec<_> = (0..20).map(|_| site.post()).collect();
        for id in ids.iter().rev().chain(&ids) {
            site.bring(*id).await;
        }
        sleep(seconds(1)).await;
        assert_eq!(site.open().await, 20);
        let below_all = MessageId(snowflake_at(START - seconds(28)));
        assert!(site.cursor().await < Some(below_all), "older ones may still appear");
    });
}

/// What the gateway left out while the session was gone must not wait for the next reading: a code lives 100 s.
#[test]
fn a_session_that_begins_or_is_resumed_reads_the_history_at_once() {
    paused(|| async {
        let site = Site::listening(&Options::default());
        for (before, note) in [GatewayNote::Ready, GatewayNote::Resumed].into_iter().enumerate() {
            sleep(POLL + seconds(1)).await;
            site.post();
            sleep(seconds(1)).await;
            assert_eq!(site.received().await, before, "no reading was due");
            site.notes.send(note).await.expect("it listens");
            sleep(seconds(1)).await;
            assert_eq!(site.received().await, before + 1);
        }
    });
}

#[test]
fn a_first_start_looks_back_a_quarter_of_an_hour() {
    paused(|| async {
        let mut site = Site::new(&Options::default());
        site.post_at(START - seconds(16 * 60));
        site.post_at(START - seconds(14 * 60));
        site.post_at(START - seconds(60));
        site.listen();
        sleep(seconds(1)).await;
        assert_eq!((site.received().await, site.open().await), (2, 1));
    });
}

#[test]
fn a_long_stop_after_a_quiet_first_start_leaves_nothing_out() {
    paused(|| async {
        let site = Site::listening(&Options::default());
        sleep(seconds(60)).await;
        let cursor = site.cursor().await;
        assert!(cursor.is_some_and(|c| c < MessageId(snowflake_at(START))), "{cursor:?}");
        sleep(seconds(3_600)).await;
        let mut next = Site::new(&Options {
            cursor,
            ..Options::default()
        });
        // Posted while nothing ran: dead by now, and it still gets its outcome.
        next.post_at(START + seconds(600));
        next.listen();
        sleep(seconds(1)).await;
        assert_eq!(next.received().await, 1);
    });
}

#[test]
fn the_cursor_follows_where_messages_are_gone_before_a_reading_comes() {
    paused(|| async {
        let site = Site::listening(&Options {
            after_receipt: AfterReceipt::Delete,
            ..Options::default()
        });
        sleep(seconds(1)).await;
        for _ in 0..20 {
            // It is spent at once, and so removed at once.
            let gone = site.put(site.clock.now(), Some(WEBHOOK), denied());
            site.bring(gone).await;
            sleep(seconds(30)).await;
            assert!(site.outside.ids().is_empty());
            let behind = MessageId(gone.0 - (61_000 << 22));
            assert!(site.cursor().await > Some(behind), "codes are remembered for ever");
        }
    });
}

#[test]
fn a_history_that_lacks_what_the_gateway_brings_is_named_once_and_moves_no_cursor() {
    let log = logged(|| {
        paused(|| async {
            let site = Site::listening(&Options::default());
            site.outside.unreadable.set(true);
            sleep(seconds(60)).await;
            let before = site.cursor().await;
            for _ in 0..5 {
                let id = site.post();
                site.bring(id).await;
                sleep(seconds(19)).await;
            }
            assert_eq!(site.received().await, 5);
            assert_eq!(site.cursor().await, before, "what was never read is passed over");
        });
    });
    assert_eq!(log.matches("READ_MESSAGE_HISTORY").count(), 1, "{log}");
}

#[test]
fn a_message_that_somebody_deletes_is_not_taken_for_a_missing_permission() {
    let log = logged(|| {
        paused(|| async {
            let site = Site::listening(&Options::default());
            for n in 0..10 {
                let id = site.post();
                site.bring(id).await;
                sleep(seconds(20)).await;
                if n % 2 == 0 {
                    let gone = site.id_at(site.clock.now());
                    site.bring(gone).await;
                }
                sleep(seconds(200)).await;
            }
        });
    });
    assert!(!log.contains("READ_MESSAGE_HISTORY"), "{log}");
}

#[test]
fn a_clock_that_is_stepped_hides_no_code() {
    paused(|| async {
        let site = Site::listening(&Options::default());
        let mut posted = 0;
        for step_ms in [0, 3_600_000, -3_600_000, -3_600_000, 7_200_000, -3_600_000] {
            site.service_clock.step(step_ms);
            for _ in 0..10 {
                site.post();
                site.post_hidden_for(seconds(25));
                posted += 2;
                sleep(seconds(13)).await;
            }
            sleep(seconds(30)).await;
            assert_eq!(site.received().await, posted, "after a step of {step_ms} ms");
        }
    });
}

#[test]
fn a_history_that_is_refused_for_good_is_told_and_a_passing_fault_is_not() {
    paused(|| async {
        let site = Site::listening(&Options::default());
        site.outside.pages_until_failure.set(Some(0));
        sleep(POLL).await;
        let late = site.post();
        sleep(2 * POLL).await;
        assert_eq!((site.received().await, site.fatal.borrow().len()), (1, 0));
        assert!(site.outside.ids().contains(&late));
    });
}
