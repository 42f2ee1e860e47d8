//! The command responder alone, in paused time: what it answers to whom, and what it lets go.

use std::cell::RefCell;

use actix::Addr;
use futures_util::future::LocalBoxFuture;
use tokio::time::sleep;

use super::*;
use crate::config::{Config, Environment};
use crate::ids::{ApplicationId, ChannelId, Lane, UserId, snowflake_at};
use crate::intake::mint::Link;
use crate::port::contact::OwnCommand;
use crate::port::later::Later;
use crate::secret::InteractionToken;
use crate::testing::paused;
use crate::time::SteadyClock;

const PERSON: UserId = UserId(80_000_000_000_000_001);

/// Discord and the journal, which do as they are told.
#[derive(Default)]
struct World {
    minted: RefCell<Vec<(UserId, u8)>>,
    /// What the next mintings come to; a link where nothing is said.
    refusals: RefCell<VecDeque<NoLink>>,
    /// What the next answers come to; taken where nothing is said.
    faults: RefCell<VecDeque<BotError>>,
    /// Every answer that was sent: the text, and the button's label.
    answers: RefCell<Vec<(String, Option<String>)>>,
    /// How long an answer takes.
    slow: RefCell<Duration>,
}

impl LinkIssuer for World {
    fn mint(&self, wanted: Wanted) -> LocalBoxFuture<'_, Result<Link, NoLink>> {
        self.minted.borrow_mut().push((wanted.user, wanted.purpose));
        let refusal = self.refusals.borrow_mut().pop_front();
        let link = Link {
            id: None,
            url: "https://discord.com/x".to_owned(),
            expires_at: Some(Timestamp::from_secs(1_700_000_300)),
            lane: Lane(0),
        };
        async move { refusal.map_or(Ok(link), Err) }.boxed_local()
    }
}

impl Contact for World {
    fn set_command<'a>(&'a self, _: ApplicationId, _: &'a OwnCommand<'a>) -> LocalBoxFuture<'a, Result<(), BotError>> {
        unreachable!("the command responder sets no command")
    }

    fn answer<'a>(&'a self, _: &'a CommandUse, note: &'a Note) -> LocalBoxFuture<'a, Result<(), BotError>> {
        async move {
            let slow = *self.slow.borrow();
            sleep(slow).await;
            let label = note.button.as_ref().map(|b| b.label.clone());
            self.answers.borrow_mut().push((note.text.clone(), label));
            self.faults.borrow_mut().pop_front().map_or(Ok(()), Err)
        }
        .boxed_local()
    }

    fn open_direct(&self, _: UserId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>> {
        unreachable!("the command responder writes to nobody")
    }

    fn send_direct<'a>(&'a self, _: ChannelId, _: &'a Note, _: &'a str) -> LocalBoxFuture<'a, Result<(), BotError>> {
        unreachable!("the command responder writes to nobody")
    }
}

struct Site {
    world: Rc<World>,
    clock: SharedClock,
    uses: mpsc::Sender<CommandUse>,
    _responder: Addr<CommandResponder>,
}

impl Site {
    fn new() -> Self {
        let world = Rc::new(World::default());
        let clock: SharedClock = SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000));
        let (uses, taken) = mpsc::channel(1000);
        let example = include_str!("../../../config/example.toml");
        let config = Config::from_text(example, "x.toml".as_ref(), &Environment::default()).expect("good");
        let desk = Desk {
            command: "connect".to_owned(),
            phrases: config.commands.texts,
            purposes: ["default", "linked-role"].map(ToOwned::to_owned).into(),
            link_issuer: Rc::clone(&world) as Rc<dyn LinkIssuer>,
            contact: Rc::clone(&world) as Rc<dyn Contact>,
            clock: clock.clone(),
        };
        Self {
            world,
            clock,
            uses,
            _responder: CommandResponder::new(desk, taken).start(),
        }
    }

    /// A use that is this old, told apart from others by a number.
    fn used(&self, age: Duration, nth: u64) -> CommandUse {
        CommandUse {
            id: InteractionId(snowflake_at(self.clock.now() - age) + nth),
            command: "connect".to_owned(),
            purpose: None,
            person: PERSON,
            locale: "de".to_owned(),
            token: InteractionToken::new("CANARY"),
        }
    }

    async fn tell(&self, used: CommandUse) {
        self.uses.send(used).await.expect("it listens");
        sleep(Duration::from_millis(20)).await;
    }

    fn texts(&self) -> Vec<String> {
        self.world
            .answers
            .borrow()
            .iter()
            .map(|(text, _)| text.clone())
            .collect()
    }
}

#[test]
fn a_use_is_answered_in_the_persons_language_with_a_link_on_a_button() {
    paused(|| async {
        let site = Site::new();
        for (nth, locale) in ["de", "en-GB", "fr", ""].into_iter().enumerate() {
            let used = site.used(Duration::ZERO, nth as u64);
            site.tell(CommandUse {
                locale: locale.to_owned(),
                ..used
            })
            .await;
        }
        let answers = site.world.answers.borrow();
        assert!(answers[0].0.contains("5 Min."), "{answers:?}");
        assert_eq!(answers[0].1.as_deref(), Some("Verbinden"));
        for answer in &answers[1..] {
            assert!(
                answer.0.contains("5 min") && answer.1.as_deref() == Some("Connect"),
                "{answer:?}"
            );
        }
    });
}

#[test]
fn a_link_is_for_the_purpose_that_was_chosen_and_none_is_made_for_one_that_is_gone() {
    paused(|| async {
        let site = Site::new();
        for (nth, chosen) in [None, Some("linked-role"), Some("default"), Some("former")]
            .into_iter()
            .enumerate()
        {
            let used = site.used(Duration::ZERO, nth as u64);
            site.tell(CommandUse {
                purpose: chosen.map(ToOwned::to_owned),
                ..used
            })
            .await;
        }
        assert_eq!(*site.world.minted.borrow(), [(PERSON, 0), (PERSON, 1), (PERSON, 0)]);
        let answers = site.world.answers.borrow();
        assert!(answers[..3].iter().all(|(_, button)| button.is_some()), "{answers:?}");
        assert!(
            answers[3].0.contains("gibt es nicht mehr") && answers[3].1.is_none(),
            "{answers:?}"
        );
    });
}

#[test]
fn another_command_a_replay_and_a_use_that_is_too_old_take_no_link() {
    paused(|| async {
        let site = Site::new();
        let other = site.used(Duration::ZERO, 1);
        site.tell(CommandUse {
            command: "disconnect".to_owned(),
            ..other
        })
        .await;
        site.tell(site.used(Duration::from_secs(3), 2)).await;
        assert_eq!(site.world.minted.borrow().len(), 0);
        let used = site.used(Duration::from_millis(2900), 3);
        site.tell(used.clone()).await;
        site.tell(used).await;
        assert_eq!((site.world.minted.borrow().len(), site.texts().len()), (1, 1));
    });
}

#[test]
fn who_finds_no_room_is_told_when_and_who_meets_a_fault_that_it_failed() {
    paused(|| async {
        let site = Site::new();
        *site.world.refusals.borrow_mut() = [
            NoLink::Later(Duration::from_millis(41_001)),
            NoLink::Failed("full".to_owned()),
        ]
        .into();
        site.tell(site.used(Duration::ZERO, 1)).await;
        site.tell(site.used(Duration::ZERO, 2)).await;
        let texts = site.texts();
        assert!(texts[0].contains("in 42 s"), "{texts:?}");
        assert!(texts[1].contains("nicht geklappt"), "{texts:?}");
        assert!(site.world.answers.borrow().iter().all(|(_, button)| button.is_none()));
    });
}

#[test]
fn an_answer_is_repeated_while_there_is_time_and_never_with_another_link() {
    paused(|| async {
        let site = Site::new();
        let passing = |after| {
            BotError::Transient(Later {
                after,
                ..Later::because("503")
            })
        };
        // The second one finds that the first was taken.
        *site.world.faults.borrow_mut() = [passing(None), BotError::Refused { code: 40060 }].into();
        site.tell(site.used(Duration::ZERO, 1)).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!((site.world.minted.borrow().len(), site.texts().len()), (1, 2));
        // No time is left to wait that long.
        *site.world.faults.borrow_mut() = [passing(Some(Duration::from_secs(4)))].into();
        site.tell(site.used(Duration::ZERO, 2)).await;
        *site.world.faults.borrow_mut() = [BotError::NotFound { code: 10062 }].into();
        site.tell(site.used(Duration::ZERO, 3)).await;
        sleep(Duration::from_secs(10)).await;
        assert_eq!((site.world.minted.borrow().len(), site.texts().len()), (3, 4));
    });
}

#[test]
fn a_crowd_is_served_in_turn_and_the_late_ones_take_no_links() {
    paused(|| async {
        let site = Site::new();
        *site.world.slow.borrow_mut() = Duration::from_secs(2);
        for nth in 0..200 {
            site.uses
                .send(site.used(Duration::ZERO, nth))
                .await
                .expect("it listens");
        }
        sleep(Duration::from_secs(20)).await;
        // Two rounds begin within the 3 s.
        assert_eq!(site.world.minted.borrow().len(), 2 * AT_ONCE);
        assert_eq!(site.texts().len(), 2 * AT_ONCE);
    });
}
