//! Scripts for other relays, put together from their parts. They hold no key: keys come from their runtime's settings.

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
