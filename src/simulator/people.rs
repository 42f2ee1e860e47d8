//! Synthetic users: each opens a link, decides on the consent page, and follows the redirect as a browser does.

use std::time::Duration;

use reqwest::header::LOCATION;

/// What a user does with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Approves.
    Approve,
    /// Denies.
    Deny,
    /// Approves after two seconds.
    Slow,
    /// Approves twice: two codes from one consent.
    DoubleClick,
    /// Approves and loads the callback again: the same code twice.
    Reload,
}

/// What a visit led to.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Codes that Discord issued.
    pub codes: Vec<String>,
    /// Whether Discord sent a denial back.
    pub denied: bool,
}

/// Discord or the relay did not answer as expected.
#[derive(Debug, thiserror::Error)]
#[error("a synthetic user could not finish: {0}")]
pub struct Stuck(&'static str);

/// An HTTP client that does not follow redirects: [`walk`] does, one by one.
pub fn browser() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(15))
        .no_proxy()
        .build()
        .expect("a client with no TLS options can be made")
}

/// Takes one user through one link.
pub async fn walk(http: &reqwest::Client, link: &str, user: u64, behaviour: Behaviour) -> Result<Visit, Stuck> {
    let page = http.get(link).send().await;
    let page = page.map_err(|_| Stuck("the consent page did not answer"))?;
    if !page.status().is_success() {
        return Err(Stuck("the consent page refused the link"));
    }
    if behaviour == Behaviour::Slow {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let mut visit = Visit::default();
    let clicks = if behaviour == Behaviour::DoubleClick { 2 } else { 1 };
    let loads = if behaviour == Behaviour::Reload { 2 } else { 1 };
    for _ in 0..clicks {
        let location = decide(http, link, user, behaviour).await?;
        let back = url::Url::parse(&location).map_err(|_| Stuck("the redirect is no valid URL"))?;
        match back.query_pairs().find(|(name, _)| name == "code") {
            Some((_, code)) => visit.codes.push(code.into_owned()),
            None => visit.denied = true,
        }
        for _ in 0..loads {
            let arrived = http.get(&location).send().await;
            let arrived = arrived.map_err(|_| Stuck("the relay did not answer"))?;
            if !arrived.status().is_success() {
                return Err(Stuck("the relay refused the redirect"));
            }
        }
    }
    Ok(visit)
}

/// Decides on the consent page; returns the URL that Discord redirects to.
pub async fn decide(http: &reqwest::Client, link: &str, user: u64, behaviour: Behaviour) -> Result<String, Stuck> {
    let denies = behaviour == Behaviour::Deny;
    let action = if denies { "deny" } else { "approve" };
    let form = http
        .post(link)
        .header("content-type", "application/x-www-form-urlencoded");
    let decided = form.body(format!("user_id={user}&action={action}")).send().await;
    let decided = decided.map_err(|_| Stuck("the consent page did not answer the decision"))?;
    let location = decided.headers().get(LOCATION).and_then(|l| l.to_str().ok());
    location
        .map(ToOwned::to_owned)
        .ok_or(Stuck("Discord did not redirect the user"))
}
