//! A lane that cannot carry codes gets no links until it can; with none left the operator is needed.

use std::collections::BTreeSet;

use super::*;
use crate::actors::journal::message::Mint;
use crate::intake::mint::Wanted;
use crate::port::contact::NoLink;

const UNKNOWN_WEBHOOK: BotError = BotError::NotFound { code: 10_015 };

fn two() -> Site {
    Site::listening(&Options {
        two_lanes: true,
        ..Options::default()
    })
}

/// The lanes that links are made for, from a few people who were not asked before.
async fn lanes(site: &Site) -> Result<BTreeSet<u8>, NoLink> {
    let mut lanes = BTreeSet::new();
    for _ in 0..4 {
        site.posted.set(site.posted.get() + 1);
        let user = UserId(80_000_000_000_000_000 + site.posted.get());
        let (purpose, again) = (0, false);
        let link = site
            .journal
            .send(Mint(Wanted { user, purpose, again }))
            .await
            .expect("it lives")?;
        lanes.insert(link.lane.0);
    }
    Ok(lanes)
}

#[test]
fn a_lane_whose_channel_cannot_be_read_is_out_until_it_can() {
    paused(|| async {
        let site = two();
        sleep(seconds(1)).await;
        assert_eq!(lanes(&site).await.expect("links"), BTreeSet::from([0, 1]));
        let forbidden = BotError::Forbidden { code: 50_001 };
        site.outside.refused.borrow_mut().insert(OTHER.0, forbidden.clone());
        sleep(POLL).await;
        assert_eq!(lanes(&site).await.expect("links"), BTreeSet::from([0]));
        assert!(site.fatal.borrow().is_empty(), "the other lane works");
        site.outside.refused.borrow_mut().clear();
        sleep(POLL).await;
        assert!(lanes(&site).await.expect("links").contains(&1));
        for channel in [CHANNEL, OTHER.0] {
            site.outside.refused.borrow_mut().insert(channel, forbidden.clone());
        }
        sleep(POLL).await;
        assert!(
            matches!(site.fatal.borrow()[..], [Fatal::Bot { .. }, ..]),
            "none is left"
        );
    });
}

#[test]
fn a_lane_whose_webhook_is_gone_or_moved_is_out_until_it_is_back() {
    paused(|| async {
        let site = two();
        for wrong in [Err(UNKNOWN_WEBHOOK), Ok(CHANNEL)] {
            site.outside.webhooks.borrow_mut().insert(OTHER.1, wrong);
            sleep(seconds(61)).await;
            assert_eq!(lanes(&site).await.expect("links"), BTreeSet::from([0]));
            // What passes, and what may not be looked at, says nothing.
            for unsure in [passing(), BotError::Forbidden { code: 50_013 }] {
                site.outside.webhooks.borrow_mut().insert(OTHER.1, Err(unsure));
                sleep(seconds(61)).await;
                assert_eq!(lanes(&site).await.expect("links"), BTreeSet::from([0]));
            }
            site.outside.webhooks.borrow_mut().clear();
            sleep(seconds(61)).await;
            assert!(lanes(&site).await.expect("links").contains(&1));
        }
    });
}

#[test]
fn with_every_webhook_gone_people_are_told_to_wait_and_codes_are_still_read() {
    paused(|| async {
        let site = two();
        for webhook in [WEBHOOK, OTHER.1] {
            site.outside.webhooks.borrow_mut().insert(webhook, Err(UNKNOWN_WEBHOOK));
        }
        sleep(seconds(61)).await;
        let refused = lanes(&site).await;
        assert!(
            matches!(refused, Err(NoLink::Later(after)) if after == seconds(60)),
            "{refused:?}"
        );
        assert!(site.fatal.borrow().is_empty());
        let before = site.open().await;
        site.post();
        sleep(POLL).await;
        assert_eq!(site.open().await, before + 1);
    });
}
