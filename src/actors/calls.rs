//! What an actor waits for, polled only when it is woken.
//!
//! A context polls everything that was spawned on it whenever anything of it wakes: a hundred waiting calls would cost
//! a hundred polls for every message. Here they are one item to the context, and end with the actor all the same.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Starts calls; what they come to is an item of the stream that goes with it.
pub struct Calls<T> {
    new: UnboundedSender<LocalBoxFuture<'static, T>>,
    /// Until the actor has started.
    under_way: Option<UnderWay<T>>,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        let (new, started) = unbounded_channel();
        let under_way = UnderWay {
            started,
            calls: FuturesUnordered::new(),
        };
        Self {
            new,
            under_way: Some(under_way),
        }
    }
}

impl<T> Calls<T> {
    /// The calls under way, to be added to the actor's context once.
    pub fn stream(&mut self) -> UnderWay<T> {
        self.under_way.take().expect("an actor starts once")
    }

    /// Starts one.
    pub fn start(&self, call: impl Future<Output = T> + 'static) {
        // Without its stream the actor is gone, and its calls with it.
        let _ = self.new.send(Box::pin(call));
    }
}

/// The calls under way. It never ends: the end of a stream would end the actor.
pub struct UnderWay<T> {
    started: UnboundedReceiver<LocalBoxFuture<'static, T>>,
    calls: FuturesUnordered<LocalBoxFuture<'static, T>>,
}

impl<T> Stream for UnderWay<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.get_mut();
        while let Poll::Ready(Some(call)) = this.started.poll_recv(cx) {
            this.calls.push(call);
        }
        match this.calls.poll_next_unpin(cx) {
            Poll::Ready(Some(ended)) => Poll::Ready(Some(ended)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::cell::Cell;
    use std::rc::Rc;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_call_that_waits_is_not_polled_while_others_end() {
        let mut calls = Calls::default();
        let mut stream = calls.stream();
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        calls.start(std::future::poll_fn(move |_| {
            counted.set(counted.get() + 1);
            Poll::<usize>::Pending
        }));
        for n in 0..50 {
            let (send, wait) = oneshot::channel();
            calls.start(wait.map(|n| n.expect("sent")));
            assert!(stream.next().now_or_never().is_none());
            send.send(n).expect("waited for");
            assert_eq!(stream.next().await, Some(n));
        }
        assert_eq!(polls.get(), 1);
    }
}
