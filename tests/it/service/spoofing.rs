//! Codes from a foreign author: never presented, and left in the channel.

use codeferry::intake::v1::{self, Redirect};
use codeferry::secret::Key;
use codeferry::simulator::{PostAuthor, PostRequest, SimulatorOptions};
use codeferry::time::{Clock, SystemClock};

use super::test_support::{PERSON, Site};
use crate::patience::until;

#[test]
fn only_the_lanes_own_webhook_in_the_lanes_own_channel_is_believed() {
    let options = SimulatorOptions {
        lanes: 2,
        ..SimulatorOptions::without_limits()
    };
    let site = Site::new(options, "");
    let service = site.run_ready();
    let ((channel, webhook), (other_channel, _)) = (site.lane(0), site.lane(1));
    let id = |text: &str| text.parse::<u64>().expect("an id");
    let strange = id(&site.about.strange_webhook.as_ref().expect("there is one").id);
    let results = &site.about.results;
    let moved = id(&results.webhook.id);

    let mut person = PERSON;
    let mut spoofed = Vec::new();
    let mut signed = || {
        person += 1;
        let approved = site.approved(person);
        let message = site.message(std::slice::from_ref(&approved));
        spoofed.push(approved.0);
        message
    };
    let post = |request: PostRequest| site.simulator.post(request).expect("posted");
    // Every one of these is signed with the relay's key: the place and the sender alone are wrong.
    post(PostRequest::new(channel, PostAuthor::Person(PERSON), signed()));
    post(PostRequest::new(channel, PostAuthor::OtherBot, signed()));
    post(PostRequest::new(channel, PostAuthor::Bot, signed()));
    post(PostRequest::webhook(strange, signed()));
    post(PostRequest {
        username: Some("intake".to_owned()),
        ..PostRequest::webhook(strange, signed())
    });
    // Another lane's channel, and a channel that is no lane's.
    assert!(site.simulator.change_webhook(webhook, Some(other_channel)));
    post(PostRequest::webhook(webhook, signed()));
    assert!(site.simulator.change_webhook(webhook, Some(id(&results.channel_id))));
    post(PostRequest::webhook(webhook, signed()));
    // The webhook of another channel, moved into the lane's.
    assert!(site.simulator.change_webhook(moved, Some(channel)));
    post(PostRequest::webhook(moved, signed()));
    assert!(site.simulator.change_webhook(webhook, Some(channel)));
    // The right webhook in the right channel, but not the relay's key.
    let (code, state) = site.approved(person + 1);
    let redirect = Redirect {
        time: SystemClock.now().as_secs(),
        result: Ok(code.clone()),
        state: Some(state),
    };
    let wrong_key = Key::new(*b"not the relay's key, not the relay's key");
    post(PostRequest::webhook(
        webhook,
        v1::encode(site.bot(), &[redirect], &wrong_key),
    ));
    spoofed.push(code);

    // The good one comes last: once it is through, so is all that came before, by the gateway and by the history.
    let good = site.sign_in(100, 1).remove(0);
    until(std::time::Duration::from_secs(20), "the good code completes", || {
        site.results_of("completed") == 1
    });
    // What came from elsewhere in a lane's channel is counted, each message once; the unwatched channel is not looked at.
    let count = |what: &str| site.json(&["debug", "queue", "stats"])["messages"][what].as_u64();
    assert_eq!(count("malformed"), Some(1));
    assert_eq!(count("foreign"), Some(7));
    service.drain();
    let service = site.run_ready();
    until(
        std::time::Duration::from_secs(20),
        "the good one is removed, and the forged one stays while it lives",
        || site.simulator.message_count(channel) == 7,
    );
    service.drain();
    let ledger = site.simulator.ledger();
    let presented = |code: &str| ledger.code(code).expect("issued").presented.len();
    assert_eq!(spoofed.len(), 9);
    assert_eq!(spoofed.iter().map(|c| presented(c)).sum::<usize>(), 0);
    assert_eq!((presented(&good), site.results().len()), (1, 1));
    // Other people's messages are not ours to touch.
    assert_eq!(site.simulator.message_count(other_channel), 1);
    assert_eq!(site.simulator.message_count(id(&results.channel_id)), 1);
}
