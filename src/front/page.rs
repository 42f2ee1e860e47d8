//! The pages that exist, and their built-in words.

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Page {
    /// The code is durable; how it ends is not known yet.
    Success,
    /// The sign-in has completed.
    Completed,
    /// Somebody else approved than the user for whom the link was made.
    WrongPerson,
    /// The sign-in has ended in another way.
    Failed,
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
    /// The address itself, without a callback.
    Home,
}

/// How it went: the mark that a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A tick.
    Good,
    /// A cross.
    Bad,
    /// A clock.
    Waits,
}

impl Mark {
    /// Its name in the style.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Waits => "waits",
        }
    }

    /// Its path within a circle, in a box of 24 by 24.
    pub(super) const fn drawing(self) -> &'static str {
        match self {
            Self::Good => "M7.5 12.5l3 3 6-7",
            Self::Bad => "M8.5 8.5l7 7m0-7l-7 7",
            Self::Waits => "M12 7v5l3 2",
        }
    }
}

impl Page {
    /// Every page.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::Completed,
        Self::WrongPerson,
        Self::Failed,
        Self::Denied,
        Self::Expired,
        Self::Busy,
        Self::Invalid,
        Self::Limited,
        Self::Home,
    ];

    /// Its name, the first part of its file name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Completed => "completed",
            Self::WrongPerson => "wrong_person",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Busy => "busy",
            Self::Invalid => "invalid",
            Self::Limited => "limited",
            Self::Home => "home",
        }
    }

    /// The mark of the built-in page.
    pub(super) const fn mark(self) -> Mark {
        match self {
            Self::Completed | Self::Home => Mark::Good,
            Self::WrongPerson | Self::Failed | Self::Denied | Self::Invalid => Mark::Bad,
            Self::Success | Self::Expired | Self::Busy | Self::Limited => Mark::Waits,
        }
    }

    /// Title and text of the built-in page, in the order of [`Language::ALL`].
    const fn all_words(self) -> [[&'static str; 2]; 4] {
        match self {
            Self::Success => [
                ["Almost done…", "We received your approval. You can close this page."],
                [
                    "Fast fertig …",
                    "Deine Zustimmung ist angekommen. Du kannst diese Seite schließen.",
                ],
                [
                    "Presque terminé…",
                    "Nous avons reçu votre accord. Vous pouvez fermer cette page.",
                ],
                [
                    "Casi listo…",
                    "Hemos recibido tu aprobación. Puedes cerrar esta página.",
                ],
            ],
            Self::Completed => [
                ["You’re connected", "Everything worked. You can close this page."],
                [
                    "Du bist verbunden",
                    "Alles hat geklappt. Du kannst diese Seite schließen.",
                ],
                [
                    "Vous êtes connecté",
                    "Tout s’est bien passé. Vous pouvez fermer cette page.",
                ],
                ["Ya tienes conexión", "Todo ha ido bien. Puedes cerrar esta página."],
            ],
            Self::WrongPerson => [
                [
                    "Wrong account",
                    "This link is for another Discord account. Switch accounts in Discord, or ask for your own link.",
                ],
                [
                    "Falsches Konto",
                    "Dieser Link gehört zu einem anderen Discord-Konto. Wechsle das Konto in Discord oder hole dir einen eigenen Link.",
                ],
                [
                    "Mauvais compte",
                    "Ce lien est destiné à un autre compte Discord. Changez de compte dans Discord ou demandez votre propre lien.",
                ],
                [
                    "Cuenta equivocada",
                    "Este enlace es para otra cuenta de Discord. Cambia de cuenta en Discord o pide tu propio enlace.",
                ],
            ],
            Self::Failed => [
                [
                    "That did not work",
                    "We could not complete your sign-in. Please ask for a new link where you got this one.",
                ],
                [
                    "Das hat nicht geklappt",
                    "Wir konnten deine Anmeldung nicht abschließen. Bitte hole dir dort, wo du den Link bekommen hast, einen neuen.",
                ],
                [
                    "Cela n’a pas fonctionné",
                    "Nous n’avons pas pu terminer votre connexion. Demandez un nouveau lien là où vous avez reçu celui-ci.",
                ],
                [
                    "No ha funcionado",
                    "No hemos podido completar tu conexión. Pide un enlace nuevo donde recibiste este.",
                ],
            ],
            Self::Denied => [
                [
                    "Nothing was approved",
                    "Nothing was shared. You can close this page, or ask for a new link.",
                ],
                [
                    "Es wurde nichts freigegeben",
                    "Es wurde nichts geteilt. Du kannst diese Seite schließen oder um einen neuen Link bitten.",
                ],
                [
                    "Rien n’a été autorisé",
                    "Rien n’a été partagé. Vous pouvez fermer cette page ou demander un nouveau lien.",
                ],
                [
                    "No se ha aprobado nada",
                    "No se ha compartido nada. Puedes cerrar esta página o pedir un enlace nuevo.",
                ],
            ],
            Self::Expired => [
                [
                    "This link has expired",
                    "Nothing was shared. Please ask for a new link where you got this one.",
                ],
                [
                    "Dieser Link ist abgelaufen",
                    "Es wurde nichts geteilt. Bitte hole dir dort, wo du ihn bekommen hast, einen neuen Link.",
                ],
                [
                    "Ce lien a expiré",
                    "Rien n’a été partagé. Demandez un nouveau lien là où vous avez reçu celui-ci.",
                ],
                [
                    "Este enlace ha caducado",
                    "No se ha compartido nada. Pide un enlace nuevo donde recibiste este.",
                ],
            ],
            Self::Busy => [
                [
                    "Too many people at once",
                    "We could not process your approval in time, and kept nothing. Please ask for a new link in a few minutes.",
                ],
                [
                    "Zu viele auf einmal",
                    "Wir konnten deine Zustimmung nicht rechtzeitig verarbeiten und haben nichts gespeichert. Bitte hole dir in ein paar Minuten einen neuen Link.",
                ],
                [
                    "Trop de monde à la fois",
                    "Nous n’avons pas pu traiter votre accord à temps et n’avons rien conservé. Demandez un nouveau lien dans quelques minutes.",
                ],
                [
                    "Demasiada gente a la vez",
                    "No hemos podido procesar tu aprobación a tiempo y no hemos guardado nada. Pide un enlace nuevo en unos minutos.",
                ],
            ],
            Self::Invalid => [
                [
                    "This is not a working address",
                    "Discord sends people here after they approve. If you came from there, please ask for a new link.",
                ],
                [
                    "Diese Adresse führt nirgendwohin",
                    "Discord leitet nach einer Zustimmung hierher weiter. Wenn du von dort kommst, hole dir bitte einen neuen Link.",
                ],
                [
                    "Cette adresse ne mène nulle part",
                    "Discord envoie les gens ici après leur accord. Si vous venez de là, demandez un nouveau lien.",
                ],
                [
                    "Esta dirección no lleva a ninguna parte",
                    "Discord envía aquí a quien aprueba. Si vienes de allí, pide un enlace nuevo.",
                ],
            ],
            Self::Limited => [
                [
                    "Too many requests",
                    "Too many invalid requests from your network. Try again in a minute.",
                ],
                [
                    "Zu viele Anfragen",
                    "Zu viele ungültige Anfragen aus deinem Netz. Versuche es in einer Minute noch einmal.",
                ],
                [
                    "Trop de requêtes",
                    "Trop de requêtes non valides depuis votre réseau. Réessayez dans une minute.",
                ],
                [
                    "Demasiadas solicitudes",
                    "Demasiadas solicitudes no válidas desde tu red. Vuelve a intentarlo en un minuto.",
                ],
            ],
            Self::Home => [
                [
                    "Discord sign-in",
                    "People come here after they approve an application in Discord. There is nothing else to see.",
                ],
                [
                    "Anmeldung mit Discord",
                    "Hierher kommt, wer in Discord einer Anwendung zugestimmt hat. Sonst gibt es hier nichts zu sehen.",
                ],
                [
                    "Connexion avec Discord",
                    "On arrive ici après avoir autorisé une application dans Discord. Il n’y a rien d’autre à voir.",
                ],
                [
                    "Conexión con Discord",
                    "Aquí se llega tras aprobar una aplicación en Discord. No hay nada más que ver.",
                ],
            ],
        }
    }

    /// Title and text of the built-in page.
    pub(super) const fn words(self, language: Language) -> [&'static str; 2] {
        self.all_words()[language as usize]
    }
}

/// The languages of the built-in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// German.
    German,
    /// French.
    French,
    /// Spanish.
    Spanish,
}

impl Language {
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("en", Self::English),
        ("de", Self::German),
        ("fr", Self::French),
        ("es", Self::Spanish),
    ];

    pub(super) const fn back(self) -> &'static str {
        match self {
            Self::English => "Back to Discord",
            Self::German => "Zurück zu Discord",
            Self::French => "Retour à Discord",
            Self::Spanish => "Volver a Discord",
        }
    }
}
