//! Scripts for other relays, put together from their parts. They hold no key: keys come from their runtime's settings.

use crate::front::pages::Pages;
use crate::http::USER_AGENT;

/// How a callback is judged; shared by every script.
const CALLBACK: &str = include_str!("script/callback.js");
/// SHA-256 and HMAC for runtimes without `crypto`.
const HMAC: &str = include_str!("script/hmac.js");

/// The Hookdeck transformation.
pub fn hookdeck() -> String {
    let about = format!(
        "// codeferry {}: the transformation for Hookdeck. `codeferry hookdeck apply` puts it in place and sets\n\
         // CODEFERRY_RELAY_KEY, CODEFERRY_STATE_KEY, CODEFERRY_BOT, CODEFERRY_LANES and CODEFERRY_CODE_LIFETIME.\n",
        env!("CARGO_PKG_VERSION")
    );
    [&about, CALLBACK, HMAC, include_str!("hookdeck/transformation.js")].join("\n")
}

/// What stands in the Worker's pages where each answer has its own nonce, and the error that Discord sent.
const NONCE: &str = "codeferry-nonce-of-this-answer";
const ERROR: &str = "codeferry-error-of-discord";
/// Where each page has the icon, which the script holds once.
const ICON: &str = "codeferry-icon-of-the-application";

/// The Cloudflare Worker, with its pages.
pub fn worker(pages: &Pages) -> Result<String, minijinja::Error> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let filled = serde_json::json!(pages.filled(NONCE, ERROR, ICON)?);
    let about = format!(
        "// codeferry {version}: the Cloudflare Worker, which is a relay of its own. `codeferry worker config` prints the\n\
         // wrangler.toml that goes with it; its keys are secrets of the Worker. It keeps its queue in one Durable Object.\n\n\
         const VERSION = {};\nconst USER_AGENT = {};\nconst NONCE = {};\nconst ERROR = {};\nconst ICON = {};\nconst PICTURE = {};\n\
         // By page and language: the language it is in, and the document.\nconst PAGES = {filled:#};\n",
        text(env!("CARGO_PKG_VERSION")),
        text(USER_AGENT),
        text(NONCE),
        text(ERROR),
        text(ICON),
        text(pages.face().shown_icon().unwrap_or_default()),
        version = env!("CARGO_PKG_VERSION"),
    );
    let parts = [
        CALLBACK,
        include_str!("worker/front.js"),
        include_str!("worker/plan.js"),
        include_str!("worker/durable_object.js"),
    ];
    Ok([&[about.as_str()][..], &parts].concat().join("\n"))
}
