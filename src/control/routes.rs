//! Every route of the interface, once: the server finds a request's route here, and the OpenAPI description shows them.

use crate::ids::GrantId;

use super::ask::Refusal;

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Asks for a link.
    MakeLink,
    /// Shows one sign-in.
    ShowGrant,
    /// Tells what happens.
    Events,
    /// Lists grants.
    ListQueue,
    /// Shows one grant.
    ShowQueued,
    /// Retries a parked delivery.
    Requeue,
    /// Gives up deliveries.
    Drop,
    /// Counts.
    Stats,
    /// Shows the rate limits.
    Budget,
    /// Checks the journal.
    Verify,
    /// Exposes the metrics.
    Metrics,
    /// Describes the interface.
    OpenApi,
    /// Describes results.
    ResultSchema,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// What it is for.
    pub operation: Operation,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; `{id}` stands for a grant's id.
    pub path: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// What may stand in the query: name, JSON type, what it does.
    pub query: &'static [(&'static str, &'static str, &'static str)],
    /// Which refusals it knows beside 401, 403, 404 and 405.
    pub refusals: &'static [u16],
}

const fn get(operation: Operation, path: &'static str, summary: &'static str) -> Route {
    Route {
        operation,
        method: "GET",
        path,
        summary,
        query: &[],
        refusals: &[503],
    }
}

/// All of them.
pub const ROUTES: &[Route] = &[
    Route {
        method: "POST",
        refusals: &[400, 413, 429, 503],
        ..get(
            Operation::MakeLink,
            "/v1/links",
            "Make a link with which one user can approve",
        )
    },
    get(
        Operation::ShowGrant,
        "/v1/grants/{id}",
        "Show one sign-in: where it stands, and how it ended",
    ),
    Route {
        query: &[
            ("user_id", "string", "Only events of links that were made for this user"),
            (
                "link",
                "string",
                "Only events of this link: the `id` that `POST /v1/links` answered",
            ),
            ("grant", "string", "Only events of this grant"),
        ],
        refusals: &[400, 429, 503],
        ..get(
            Operation::Events,
            "/v1/events",
            "Wait for what happens to sign-ins, as server-sent events",
        )
    },
    Route {
        query: &[
            ("limit", "integer", "How many to list; 0 for all"),
            ("state", "string", "Only grants in this state"),
            ("parked", "boolean", "Only grants with a parked delivery"),
        ],
        refusals: &[400, 503],
        ..get(
            Operation::ListQueue,
            "/v1/queue",
            "List grants, those with the earliest deadline first",
        )
    },
    get(
        Operation::ShowQueued,
        "/v1/queue/{id}",
        "Show a grant, as `/v1/grants/{id}` does",
    ),
    Route {
        method: "POST",
        refusals: &[400, 409, 413, 503],
        ..get(Operation::Requeue, "/v1/queue/{id}/requeue", "Retry a parked delivery")
    },
    Route {
        method: "POST",
        refusals: &[409, 503],
        ..get(
            Operation::Drop,
            "/v1/queue/{id}/drop",
            "Give up a grant's deliveries; its token is still revoked",
        )
    },
    get(Operation::Stats, "/v1/stats", "Count grants, links and messages"),
    get(
        Operation::Budget,
        "/v1/budget",
        "Show how much of each rate limit is used",
    ),
    get(
        Operation::Verify,
        "/v1/verify",
        "Check every record, seal and index of the journal",
    ),
    get(
        Operation::Metrics,
        "/v1/metrics",
        "Expose the metrics in Prometheus' text format",
    ),
    get(
        Operation::OpenApi,
        "/v1/openapi.json",
        "Describe this interface (OpenAPI 3.1)",
    ),
    get(
        Operation::ResultSchema,
        "/v1/results.schema.json",
        "Describe results (JSON Schema 2020-12)",
    ),
];

/// What a request was found to be.
pub struct Found {
    /// What it asks for.
    pub operation: Operation,
    /// The grant in its path.
    pub grant: Option<GrantId>,
}

/// The route of a method and a path.
pub fn find(method: &str, path: &str) -> Result<Found, Refusal> {
    let nothing = || Refusal::new(404, "no such path: `GET /v1/openapi.json` lists the paths");
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(id) = matches(route.path, path) else { continue };
        if route.method != method {
            allowed.push(route.method);
            continue;
        }
        let grant = (!id.is_empty())
            .then(|| id.parse().map_err(|_| nothing()))
            .transpose()?;
        return Ok(Found {
            operation: route.operation,
            grant,
        });
    }
    Err(match allowed.first() {
        None => nothing(),
        Some(method) => Refusal::new(405, format!("this path takes {method} alone")),
    })
}

/// What stands for `{id}`, where a path is of this form; nothing where the form has none.
fn matches<'p>(form: &str, path: &'p str) -> Option<&'p str> {
    let (mut forms, mut parts) = (form.split('/'), path.split('/'));
    let mut id = "";
    loop {
        match (forms.next(), parts.next()) {
            (None, None) => return Some(id),
            (Some("{id}"), Some(part)) if !part.is_empty() => id = part,
            (Some(form), Some(part)) if form == part => {}
            _ => return None,
        }
    }
}
