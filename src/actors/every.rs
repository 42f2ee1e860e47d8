//! Periodic work of actors, on the beats that all of them share: an idle service wakes once a second, not once for each
//! actor.

use std::time::Duration;

use actix::fut::wrap_stream;
use actix::{Actor, ActorStreamExt as _, AsyncContext as _, Context};
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};

use crate::time::Pulse;

/// Does this work once in each period, on the last beat of it.
pub fn every<A: Actor<Context = Context<A>>>(
    period: Duration,
    ctx: &mut Context<A>,
    mut work: impl FnMut(&mut A, &mut Context<A>) + 'static,
) {
    let start = (Pulse::of_this_thread(), Instant::now());
    let beats = unfold(start, move |(pulse, before)| async move {
        let due = before + period;
        sleep_until(pulse.by(due)).await;
        Some(((), (pulse, due)))
    });
    let worked = wrap_stream::<_, A>(beats).map(move |(), actor, ctx| work(actor, ctx));
    ctx.spawn(worked.finish());
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::time::sleep;

    use super::*;

    struct Works(Duration, Rc<RefCell<Vec<Instant>>>);

    impl Actor for Works {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Context<Self>) {
            every(self.0, ctx, |works, _| works.1.borrow_mut().push(Instant::now()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn actors_that_were_started_apart_wake_the_process_together() {
        let local = tokio::task::LocalSet::new();
        let worked = Rc::new(RefCell::new(Vec::new()));
        let beats = |n: u32| Pulse::BEAT * n;
        local
            .run_until(async {
                for period in [beats(1), beats(1), beats(2), Duration::from_secs(3)] {
                    Works(period, Rc::clone(&worked)).start();
                    sleep(Duration::from_millis(150)).await;
                }
                sleep(beats(20)).await;
            })
            .await;
        let mut moments = worked.take();
        let works = moments.len();
        moments.dedup();
        assert!(
            works > 50 && moments.len() <= 20,
            "{works} at {} moments",
            moments.len()
        );
    }
}
