//! What a request asks, read from its path, query and body.

use serde::Deserialize;

use super::ask::{Ask, LinkRequest, Refusal, RequeueBody};
use super::routes::{Found, Operation};
use crate::actors::journal::view::Filter;
use crate::server::Request;

/// A link's request has 200 bytes at most, but for a long purpose.
const LONGEST_BODY: usize = 4096;

/// What a request asks; its body is read last.
pub(super) async fn read(found: Found, request: Request) -> Result<Ask, Refusal> {
    let grant = found.grant.ok_or_else(|| Refusal::new(404, "no grant is named"));
    Ok(match found.operation {
        Operation::ListQueue => {
            let filter = filter(request.query());
            Ask::List(filter.ok_or_else(|| Refusal::new(400, "`limit` is a number, `parked` true or false"))?)
        }
        Operation::ShowGrant | Operation::ShowQueued => Ask::Show(grant?),
        Operation::Drop => Ask::Drop(grant?),
        Operation::Requeue => {
            let id = grant?;
            let RequeueBody { sink } = body(request, "{\"sink\": \"<a name, or null for all>\"}").await?;
            Ask::Requeue { id, sink }
        }
        Operation::Stats => Ask::Stats,
        Operation::Budget => Ask::Budget,
        Operation::Verify => Ask::Verify,
        Operation::MakeLink => {
            let form = "{\"user_id\": \"<a Discord id>\", \"purpose\": \"<optional>\"}";
            Ask::Link(body::<LinkRequest>(request, form).await?)
        }
        // The server answers these itself.
        Operation::Events | Operation::Metrics | Operation::OpenApi | Operation::ResultSchema => {
            return Err(Refusal::new(404, "there is nothing to ask here"));
        }
    })
}

/// Which grants are meant by a query; `None` if it cannot be read.
fn filter(query: &str) -> Option<Filter> {
    let mut filter = Filter::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "limit" => filter.limit = value.parse().ok()?,
            "parked" => filter.parked = value.parse().ok()?,
            "state" => filter.state = Some(value.into_owned()),
            _ => {}
        }
    }
    Some(filter)
}

/// A request's body in JSON, whatever content type it names; what is wrong with it is told.
async fn body<T: for<'de> Deserialize<'de>>(request: Request, form: &str) -> Result<T, Refusal> {
    let bytes = request.body(LONGEST_BODY).await.map_err(|status| {
        let why = format!("the body could not be read, or has more than {LONGEST_BODY} bytes");
        Refusal::new(status.as_u16(), why)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::new(400, format!("write {form}: {error}")))
}
