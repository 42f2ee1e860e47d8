//! An application's icon, from Discord's CDN ([Discord Docs/Reference, Image
//! Formatting](https://docs.discord.com/developers/reference#image-formatting)). Nothing secret is sent.

use std::time::Duration;

use url::Url;

use super::api_base::ApiBase;
use crate::front::face::{LARGEST_ICON, data_url};
use crate::http::{self, Connections};
use crate::ids::ApplicationId;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The icon as a URL that holds it; `None` where it cannot be had, which is no failure.
pub async fn icon(base: &ApiBase, application: ApplicationId, hash: &str) -> Option<String> {
    let plain = hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let mut url = cdn(base).filter(|_| plain)?;
    url.set_path(&format!("/app-icons/{application}/{hash}.png"));
    url.set_query(Some("size=128"));
    let client = http::client(base.is_loopback(), Connections::OnePerCall, TIMEOUT).ok()?;
    let response = client.get(url).send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let picture = http::read_capped(response, LARGEST_ICON).await.ok()?;
    data_url(&picture)
}

/// Discord's CDN, or the host of another API that stands in for Discord.
fn cdn(base: &ApiBase) -> Option<Url> {
    let api = base.endpoint("/");
    if api
        .host_str()
        .is_some_and(|host| host == "discord.com" || host.ends_with(".discord.com"))
    {
        return Url::parse("https://cdn.discordapp.com").ok();
    }
    Some(api)
}
