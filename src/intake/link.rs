//! The link that a person opens: the authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3).

use url::Url;

use super::pkce;
use crate::secret::Key;

/// The settings that all links of an application share.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Discord's consent page.
    pub authorize_url: Url,
    /// `client_id`.
    pub client_id: u64,
    /// `redirect_uri`, exactly as registered.
    pub redirect_uri: String,
    /// The requested scopes.
    pub scopes: Vec<String>,
}

/// Whether links with these scopes use PKCE: Discord refuses it together with `role_connections.write`
/// (discord-api-docs issue 5751).
pub fn with_pkce(scopes: &[String]) -> bool {
    !scopes.iter().any(|scope| scope == "role_connections.write")
}

impl LinkSettings {
    /// The link for a state. `pkce_key` is given if the state's flag says PKCE.
    pub fn url(&self, state: &str, pkce_key: Option<&Key>) -> Url {
        let mut url = self.authorize_url.clone();
        let client_id = self.client_id.to_string();
        let scopes = self.scopes.join(" ");
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &client_id)
                .append_pair("scope", &scopes)
                .append_pair("redirect_uri", &self.redirect_uri)
                .append_pair("state", state);
            if let Some(key) = pkce_key {
                query
                    .append_pair("code_challenge", &pkce::challenge(&pkce::verifier(key, state)))
                    .append_pair("code_challenge_method", "S256");
            }
        }
        // `+` for a space is form encoding; Discord documents `%20`.
        let query = url.query().unwrap_or_default().replace('+', "%20");
        url.set_query(Some(&query));
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_the_request_and_its_challenge() {
        let settings = LinkSettings {
            authorize_url: Url::parse("https://discord.com/oauth2/authorize").expect("a URL"),
            client_id: 1_536_000_000_000_000_001,
            redirect_uri: "https://hooks.example.net/oauth?a=b c".to_owned(),
            scopes: vec!["identify".to_owned(), "guilds".to_owned()],
        };
        let state = "s1.ARw3k34IAAFlU_IsAAABAAECAwQFBgc.L3A7duGjO8o4W5Vn4n0XyQ";
        let url = settings.url(state, Some(&Key::new(*b"0123456789abcdef0123456789abcdef")));
        assert_eq!(
            url.as_str(),
            "https://discord.com/oauth2/authorize?response_type=code&client_id=1536000000000000001\
             &scope=identify%20guilds&redirect_uri=https%3A%2F%2Fhooks.example.net%2Foauth%3Fa%3Db%20c\
             &state=s1.ARw3k34IAAFlU_IsAAABAAECAwQFBgc.L3A7duGjO8o4W5Vn4n0XyQ\
             &code_challenge=tLaj2AYNfkm_BmkbcUbbw4LsiaMLrhZCEqRHByjP5tg&code_challenge_method=S256"
        );
        assert!(!settings.url(state, None).as_str().contains("code_challenge"));
    }
}
