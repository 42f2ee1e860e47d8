//! Delivers one result to one sink. Doing it again is harmless: the grant's id tells a repeat.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::step::{Performed, Step};
use crate::delivery::result::ResultFormat;
use crate::grant::{Event, Grant, State};
use crate::port::later::Later;
use crate::port::permit::Permit;
use crate::port::sink::{DeliveryAnswer, Sink};
use crate::rate::limits::{Budget, Need, Urgency};
use crate::secret::PersonalData;

/// The delivery to one sink.
pub struct Deliver {
    name: String,
    sink: Rc<dyn Sink>,
    format: ResultFormat,
}

/// What a delivery needs.
pub struct DeliverWork {
    grant: Box<Grant>,
    data: Option<PersonalData>,
}

impl Deliver {
    /// A delivery to the sink of this name.
    pub fn new(name: String, sink: Rc<dyn Sink>, format: ResultFormat) -> Self {
        Self { name, sink, format }
    }
}

impl Step for Deliver {
    type Work = DeliverWork;
    const NEEDS_DATA: bool = true;

    fn work(grant: &Grant, data: Option<PersonalData>) -> Option<DeliverWork> {
        Some(DeliverWork {
            grant: Box::new(grant.clone()),
            data,
        })
    }

    fn needs(&self, _: &DeliverWork) -> Option<Need> {
        let channel = self.sink.channel()?;
        Some(Need {
            budget: Budget::Webhook(channel),
            urgency: Urgency::Deliver,
        })
    }

    fn perform<'a>(&'a self, work: &'a DeliverWork, permit: Permit) -> LocalBoxFuture<'a, Performed> {
        Box::pin(async move {
            let State::Settling(settling) = &work.grant.state else {
                return Event::Aged.into();
            };
            let uncertain = settling.deliveries.get(&self.name).is_some_and(|d| d.uncertain);
            let delivery = self
                .format
                .delivery(&work.grant, settling, work.data.as_ref(), uncertain);
            let sink = self.name.clone();
            match self.sink.deliver(&delivery, permit).await {
                DeliveryAnswer::Delivered => Event::Delivered { sink }.into(),
                DeliveryAnswer::Later { later, uncertain } => {
                    let Later { after, reason } = later;
                    Performed::failed(Event::DeliveryFailed { sink, after, uncertain }, reason)
                }
                DeliveryAnswer::Refused { reason } => {
                    tracing::error!(grant.id = %work.grant.id, sink, reason, "a delivery was refused and is parked");
                    Performed::failed(Event::DeliveryRefused { sink }, reason)
                }
            }
        })
    }

    fn sink(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn after_panic(&self, _: &DeliverWork) -> Performed {
        Event::DeliveryFailed {
            sink: self.name.clone(),
            after: None,
            uncertain: true,
        }
        .into()
    }
}
