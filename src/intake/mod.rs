//! Message formats, state tokens and PKCE: pure.
