//! The pages that exist, and their built-in words.

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Page {
    /// The code is durable.
    Success,
    /// The user denied, or Discord sent an error.
    Denied,
    /// The link has expired.
    Expired,
    /// The code would expire before it could be posted; it is not kept.
    Busy,
    /// Not a valid redirect from Discord.
    Invalid,
    /// Too many unsigned requests from this address.
    Limited,
}

impl Page {
    /// Every page.
    pub const ALL: [Self; 6] = [
        Self::Success,
        Self::Denied,
        Self::Expired,
        Self::Busy,
        Self::Invalid,
        Self::Limited,
    ];

    /// Its name, the first part of its file name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Busy => "busy",
            Self::Invalid => "invalid",
            Self::Limited => "limited",
        }
    }

    /// Title and text of the built-in page.
    pub(super) const fn words(self, lang: Language) -> [&'static str; 2] {
        match (lang, self) {
            (Language::English, Self::Success) => [
                "Almost done",
                "We received your approval and are processing it. You can close this page.",
            ],
            (Language::English, Self::Denied) => [
                "Nothing was approved",
                "Discord reported no approval, so nothing was shared. You can close this page, or ask for a new link.",
            ],
            (Language::English, Self::Expired) => [
                "This link has expired",
                "Nothing was shared. Please ask for a new link where you got this one.",
            ],
            (Language::English, Self::Busy) => [
                "Too many people at once",
                "You approved, but we could not process it in time. Nothing was kept. Please ask for a new link in a few minutes.",
            ],
            (Language::English, Self::Invalid) => [
                "This is not a working address",
                "Discord sends people here after they approve. If you came from there, please ask for a new link.",
            ],
            (Language::English, Self::Limited) => [
                "Too many requests",
                "Too many invalid requests from your network. Please try again in a minute.",
            ],
            (Language::German, Self::Success) => [
                "Fast fertig",
                "Deine Zustimmung ist angekommen und wird verarbeitet. Du kannst diese Seite schließen.",
            ],
            (Language::German, Self::Denied) => [
                "Es wurde nichts freigegeben",
                "Discord hat keine Zustimmung gemeldet, deshalb wurde nichts geteilt. Du kannst diese Seite schließen oder um einen neuen Link bitten.",
            ],
            (Language::German, Self::Expired) => [
                "Dieser Link ist abgelaufen",
                "Es wurde nichts geteilt. Bitte hole dir dort, wo du ihn bekommen hast, einen neuen Link.",
            ],
            (Language::German, Self::Busy) => [
                "Zu viele auf einmal",
                "Du hast zugestimmt, aber wir konnten das nicht rechtzeitig verarbeiten. Es wurde nichts gespeichert. Bitte hole dir in ein paar Minuten einen neuen Link.",
            ],
            (Language::German, Self::Invalid) => [
                "Diese Adresse führt nirgendwohin",
                "Discord leitet nach einer Zustimmung hierher weiter. Wenn du von dort kommst, hole dir bitte einen neuen Link.",
            ],
            (Language::German, Self::Limited) => [
                "Zu viele Anfragen",
                "Aus deinem Netz kamen zu viele ungültige Anfragen. Bitte versuche es in einer Minute noch einmal.",
            ],
        }
    }
}

/// The languages of the built-in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// German.
    German,
}

impl Language {
    pub(super) const ALL: [(&'static str, Self); 2] = [("en", Self::English), ("de", Self::German)];

    pub(super) const fn back(self) -> &'static str {
        match self {
            Self::English => "Back to Discord",
            Self::German => "Zurück zu Discord",
        }
    }
}
