//! Synthetic people: each opens a link, decides on the consent page, and follows the redirect as a browser does.

use std::time::Duration;

use reqwest::header::LOCATION;

/// What a person does with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Approves.
    Approve,
    /// Refuses.
    Deny,
    /// Thinks for two seconds, then approves.
    Slow,
    /// Approves twice: two codes from one consent.
    DoubleClick,
    /// Approves and loads the callback again: the same code twice.
    Reload,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Visit {
    /// Codes that Discord issued.
    pub codes: Vec<String>,
    /// Whether a denial was sent back.
    pub denied: bool,
}

/// The visit could not be ended: Discord or the relay did not answer.
#[derive(Debug, thiserror::Error)]
#[error("a synthetic person got stuck: {0}")]
pub struct Stuck(&'static str);

/// A browser: it follows redirects by hand, as the steps are looked at.
pub fn browser() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(15))
        .no_proxy()
        .build()
        .expect("a client with no TLS options can be made")
}

/// Walks one person through one link.
pub async fn walk(http: &reqwest::Client, link: &str, user: u64, behaviour: Behaviour) -> Result<Visit, Stuck> {
    let page = http
        .get(link)
        .send()
        .await
        .map_err(|_| Stuck("the consent page did not open"))?;
    if !page.status().is_success() {
        return Err(Stuck("the consent page refused the link"));
    }
    if behaviour == Behaviour::Slow {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let mut visit = Visit::default();
    let clicks = if behaviour == Behaviour::DoubleClick { 2 } else { 1 };
    for _ in 0..clicks {
        let action = if behaviour == Behaviour::Deny {
            "deny"
        } else {
            "approve"
        };
        let form = format!("user_id={user}&action={action}");
        let decided = http
            .post(link)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .map_err(|_| Stuck("the decision was not taken"))?;
        let location = decided.headers().get(LOCATION).and_then(|l| l.to_str().ok());
        let location = location
            .ok_or(Stuck("Discord did not send the person back"))?
            .to_owned();
        let back = url::Url::parse(&location).map_err(|_| Stuck("the way back is no address"))?;
        match back.query_pairs().find(|(name, _)| name == "code") {
            Some((_, code)) => visit.codes.push(code.into_owned()),
            None => visit.denied = true,
        }
        let loads = if behaviour == Behaviour::Reload { 2 } else { 1 };
        for _ in 0..loads {
            let arrived = http
                .get(&location)
                .send()
                .await
                .map_err(|_| Stuck("the relay did not answer"))?;
            if !arrived.status().is_success() {
                return Err(Stuck("the relay refused the redirect"));
            }
        }
    }
    Ok(visit)
}
