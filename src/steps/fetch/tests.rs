use std::cell::Cell;

use futures_util::FutureExt as _;

use super::*;
use crate::port::discord::Answered;
use crate::rate::feedback::HttpFeedback;
use crate::secret::AccessToken;
use crate::time::{Clock as _, SteadyClock, Timestamp};

const PERSON: UserId = UserId(80_000_000_000_000_001);
const ALL: [Resource; 4] = [
    Resource::User,
    Resource::Connections,
    Resource::Guilds,
    Resource::Member,
];

/// Answers every resource with one status, and counts the calls.
#[derive(Default)]
struct Server {
    user: Cell<u16>,
    others: Cell<u16>,
    /// After so many calls the token is dead.
    dies_after: Cell<Option<usize>>,
    asked: RefCell<Vec<Resource>>,
    refusals: Cell<usize>,
}

impl ResourceServer for Server {
    fn fetch<'a>(&'a self, _: &'a AccessToken, resource: Resource) -> LocalBoxFuture<'a, Answered<FetchAnswer>> {
        let dead = self
            .dies_after
            .get()
            .is_some_and(|calls| self.asked.borrow().len() >= calls);
        self.asked.borrow_mut().push(resource);
        let status = match resource {
            _ if dead => 401,
            Resource::User => self.user.get(),
            _ => self.others.get(),
        };
        let outcome = match status {
            401 => FetchAnswer::Unauthorized,
            403 => FetchAnswer::Refused(Reason::new("http_403")),
            _ => FetchAnswer::Data {
                json: PersonalData::new("{}"),
                user: (resource == Resource::User).then_some(PERSON),
            },
        };
        let feedback = HttpFeedback {
            status,
            ..HttpFeedback::default()
        };
        self.refusals.set(self.refusals.get() + usize::from(status >= 400));
        async move {
            Answered {
                outcome,
                feedback: Some(feedback),
            }
        }
        .boxed_local()
    }
}

struct Free;

impl Permits for Free {
    fn acquire(&self, _: Need) -> LocalBoxFuture<'_, Option<Permit>> {
        async { Some(Permit::unlimited()) }.boxed_local()
    }
}

struct Site {
    server: Rc<Server>,
    clock: std::sync::Arc<SteadyClock>,
    fetch: Fetch,
}

impl Site {
    fn new(user: u16, others: u16) -> Self {
        let server = Rc::new(Server::default());
        server.user.set(user);
        server.others.set(others);
        let clock = SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000));
        let fetch = Fetch::new(server.clone(), ALL.into(), Rc::new(Free), clock.clone());
        Self { server, clock, fetch }
    }

    /// One code's fetch, with a token of these scopes that was received so long ago; its event, and the data.
    async fn fetch(&self, asked: u64, scopes: &str, age: Duration) -> (String, String) {
        let since = self.clock.now() - age;
        let work = FetchWork {
            token: Token {
                access: AccessToken::new("token"),
                scopes: scopes.split_whitespace().map(str::to_owned).collect(),
            },
            asked: Some(UserId(PERSON.0 + asked)),
            since,
            give_up_at: since + FETCH_GIVE_UP,
        };
        let performed = self.fetch.perform(&work, Permit::unlimited()).await;
        let event = match performed.event {
            Event::Fetched { missing, .. } => format!("fetched without {}", missing.join("+")),
            Event::FetchRefused(reason) => format!("refused {reason}"),
            other => other.name().to_owned(),
        };
        (
            event,
            performed.data.map_or(String::new(), |data| data.expose().to_owned()),
        )
    }

    /// A person whose fetch is repeated as the journal does, until it came to something.
    async fn sign_in(&self, asked: u64, scopes: &str) -> String {
        for age in [0, 1, 3, 7, 15] {
            let (event, _) = self.fetch(asked, scopes, Duration::from_secs(age)).await;
            if event != "fetch_deferred" {
                return event;
            }
        }
        "never".to_owned()
    }
}

const OLD: Duration = Duration::from_mins(1);
const GRANTED: &str = "identify connections guilds guilds.members.read";

#[tokio::test]
async fn what_was_not_granted_is_not_asked_for_and_is_null_in_the_result() {
    let site = Site::new(200, 200);
    let (event, data) = site.fetch(0, "identify guilds", OLD).await;
    assert_eq!(event, "fetched without connections+member");
    assert_eq!(data, r#"{"user":{},"connections":null,"guilds":{},"member":null}"#);
    assert_eq!(*site.server.asked.borrow(), [Resource::User, Resource::Guilds]);
    assert_eq!(site.fetch(0, "guilds", OLD).await.0, "refused scope_not_granted");
    assert_eq!(site.server.asked.borrow().len(), 2, "nobody can be asked for");
    // An answer without scopes granted what was asked for.
    assert_eq!(site.fetch(0, "", OLD).await.0, "fetched without ");
}

#[tokio::test]
async fn a_401_of_a_resource_ends_no_sign_in_whose_user_can_be_read() {
    let site = Site::new(200, 401);
    let (event, data) = site.fetch(0, GRANTED, OLD).await;
    assert_eq!(event, "fetched without connections+guilds+member");
    assert_eq!(data, r#"{"user":{},"connections":null,"guilds":null,"member":null}"#);
    // A fresh token may not be known everywhere yet.
    assert_eq!(site.fetch(1, GRANTED, Duration::ZERO).await.0, "fetch_deferred");
    // The user says that it is dead.
    let site = Site::new(200, 401);
    site.server.dies_after.set(Some(1));
    assert_eq!(site.fetch(0, GRANTED, OLD).await.0, "unauthorized");
    assert_eq!(Site::new(401, 200).fetch(0, GRANTED, OLD).await.0, "unauthorized");
}

#[tokio::test(start_paused = true)]
async fn no_person_can_bring_about_more_than_a_few_refusals() {
    for (user, others, end) in [
        (200, 401, "fetched without connections+guilds+member"),
        (200, 403, "fetched without connections+guilds+member"),
        (401, 200, "refused refused_too_often"),
        (403, 200, "refused refused_too_often"),
    ] {
        let site = Site::new(user, others);
        let mut last = String::new();
        for _ in 0..50 {
            last = site.sign_in(0, GRANTED).await;
        }
        assert_eq!(last, end, "{user} {others}");
        assert!(
            site.server.refusals.get() <= 6,
            "{user} {others}: {}",
            site.server.refusals.get()
        );
        // Nobody else is concerned, and after ten minutes that person is not either.
        site.server.user.set(200);
        site.server.others.set(200);
        assert_eq!(site.sign_in(1, GRANTED).await, "fetched without ");
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(site.sign_in(0, GRANTED).await, "fetched without ");
    }
}
