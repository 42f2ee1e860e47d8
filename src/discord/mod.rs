//! The only folder that names serenity, reqwest and oauth2.
