//! The rules of `[commands]` and `[reinvite]`, and the texts that are built in.

use super::check::Checker;
use super::checked::{CommandsConfig, ReinviteConfig, StateMode};
use super::error::shown;
use super::raw::{RawCommandTexts, RawCommands, RawReinvite, RawState};
use super::walk::for_example;
use crate::text::{BASE, LONGEST_LABEL, LONGEST_MESSAGE, Phrases, Sample, Template, language};

/// The longest description of a command, in characters (Discord Docs/Interactions/Application Commands).
const LONGEST_DESCRIPTION: usize = 100;
/// Discord's names of languages (Discord Docs/Reference/Locales), and [`BASE`].
const LOCALES: [&str; 35] = [
    BASE, "ar", "bg", "cs", "da", "de", "el", "en-GB", "en-US", "es-419", "es-ES", "fi", "fr", "he", "hi", "hr", "hu",
    "id", "it", "ja", "ko", "lt", "nl", "no", "pl", "pt-BR", "ro", "ru", "sv-SE", "th", "tr", "uk", "vi", "zh-CN",
    "zh-TW",
];

/// The texts of one language that are built in.
struct BuiltIn {
    locale: &'static str,
    description: &'static str,
    purpose: &'static str,
    link: &'static str,
    button: &'static str,
    later: &'static str,
    failed: &'static str,
    gone: &'static str,
}

const BUILT_IN: [BuiltIn; 2] = [
    BuiltIn {
        locale: BASE,
        description: "Connect your account",
        purpose: "What for",
        link: "Open this link to connect your account.{% if minutes %} It is good for {{ minutes }} min, once, and for \
               you alone.{% endif %}",
        button: "Connect",
        later: "Many people are connecting just now. Please try again in {{ seconds }} s.",
        failed: "That did not work. Please try again later.",
        gone: "What you chose is not offered any more. Please use the command again.",
    },
    BuiltIn {
        locale: "de",
        description: "Verbinde dein Konto",
        purpose: "Wofür",
        link: "Öffne diesen Link, um dein Konto zu verbinden.{% if minutes %} Er gilt {{ minutes }} Min., einmal und nur \
               für dich.{% endif %}",
        button: "Verbinden",
        later: "Gerade verbinden sich sehr viele. Bitte versuche es in {{ seconds }} s noch einmal.",
        failed: "Das hat nicht geklappt. Bitte versuche es später noch einmal.",
        gone: "Was du ausgewählt hast, gibt es nicht mehr. Bitte benutze den Befehl noch einmal.",
    },
];

/// Texts that configurations of earlier versions do not have.
const LATER: [&str; 2] = ["purpose", "gone"];

fn minutes() -> [[(&'static str, minijinja::Value); 1]; 2] {
    // Links without an expiry have no minutes.
    [[("minutes", 1440.into())], [("minutes", ().into())]]
}

impl Checker<'_> {
    pub(super) fn commands(&mut self, raw: &RawCommands) -> Option<CommandsConfig> {
        let connect = self.given("commands.connect", raw.connect.as_ref());
        let connect = connect.and_then(|name| match name.as_str() {
            "" => Some(None),
            name => self
                .command_name("commands.connect", name)
                .then(|| Some(name.to_owned())),
        });
        let locales: Vec<_> = raw
            .texts
            .iter()
            .enumerate()
            .map(|(i, t)| t.locale.clone().ok_or(i))
            .collect();
        self.once(&locales, |i| format!("commands.texts[{i}].locale"), "language");
        let given: Vec<_> = raw
            .texts
            .iter()
            .enumerate()
            .map(|(i, texts)| self.command_texts(&format!("commands.texts[{i}]"), texts))
            .collect();
        let mut texts: Vec<Phrases> = given.into_iter().collect::<Option<_>>()?;
        let missing = BUILT_IN
            .iter()
            .filter(|b| locales.iter().flatten().all(|l| l != b.locale));
        texts.extend(missing.map(BuiltIn::texts).collect::<Vec<_>>());
        texts.sort_by(|a, b| (a.locale != BASE, &a.locale).cmp(&(b.locale != BASE, &b.locale)));
        Some(CommandsConfig {
            connect: connect?,
            texts,
        })
    }

    /// A command's name: 1 to 32 letters and digits of any script, `-` and `_`, in lower case.
    fn command_name(&mut self, key: &str, name: &str) -> bool {
        let fits = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        let good = (1..=32).contains(&name.chars().count()) && name.chars().all(fits) && name.to_lowercase() == name;
        if !good {
            self.bad(
                key,
                format!("is {}, which is no name of a command", shown(name)),
                "use 1 to 32 letters and digits, `-` and `_`, in lower case and without the slash, or \"\" for none",
            );
        }
        good
    }

    fn command_texts(&mut self, at: &str, raw: &RawCommandTexts) -> Option<Phrases> {
        let key = |name: &str| format!("{at}.{name}");
        let locale = self.given(&key("locale"), raw.locale.as_ref());
        let locale = locale.and_then(|text| {
            self.word(&key("locale"), text, &LOCALES, |word| {
                LOCALES.iter().find(|l| **l == word).copied()
            })
        });
        // What a block leaves out is built in, or it is missing; what came later than the others is in English then.
        let built_in = BUILT_IN.iter().find(|b| Some(b.locale) == locale.map(language));
        let mut one =
            |name: &str, given: Option<&String>, of: fn(&BuiltIn) -> &'static str, samples: &[&Sample<'_>], most| {
                match (given, built_in) {
                    (Some(text), _) => self.text(&key(name), text, samples, most),
                    (None, Some(built_in)) => Some(Template::built_in(of(built_in))),
                    (None, None) if LATER.contains(&name) => Some(Template::built_in(of(&BUILT_IN[0]))),
                    // Of a language that is not known it cannot be said what is built in.
                    (None, None) if locale.is_none() => None,
                    (None, None) => self.given(&key(name), None),
                }
            };
        let nothing: &[&Sample<'_>] = &[&[]];
        let [some, none] = minutes();
        let description = one(
            "description",
            raw.description.as_ref(),
            |b| b.description,
            nothing,
            LONGEST_DESCRIPTION,
        );
        let link = one("link", raw.link.as_ref(), |b| b.link, &[&some, &none], LONGEST_MESSAGE);
        let button = one("button", raw.button.as_ref(), |b| b.button, nothing, LONGEST_LABEL);
        let seconds: &[&Sample<'_>] = &[&[("seconds", 3600.into())]];
        let later = one("later", raw.later.as_ref(), |b| b.later, seconds, LONGEST_MESSAGE);
        let failed = one("failed", raw.failed.as_ref(), |b| b.failed, nothing, LONGEST_MESSAGE);
        let purpose = one(
            "purpose",
            raw.purpose.as_ref(),
            |b| b.purpose,
            nothing,
            LONGEST_DESCRIPTION,
        );
        let gone = one("gone", raw.gone.as_ref(), |b| b.gone, nothing, LONGEST_MESSAGE);
        Some(Phrases {
            locale: locale?.to_owned(),
            description: description?,
            purpose: purpose?,
            link: link?,
            button: button?,
            later: later?,
            failed: failed?,
            gone: gone?,
        })
    }

    pub(super) fn reinvite(&mut self, raw: &RawReinvite, state: &RawState) -> Option<ReinviteConfig> {
        let enabled = self.given("reinvite.enabled", raw.enabled);
        let signed = state
            .mode
            .as_deref()
            .is_none_or(|mode| mode == StateMode::Signed.word());
        if enabled == Some(true) && !signed {
            self.bad(
                "reinvite.enabled",
                "is true, but only a signed state tells for sure whom to write to",
                "set `state.mode = \"signed\"`, or switch it off",
            );
        }
        let text = self.given("reinvite.text", raw.text.as_ref());
        let text = text.and_then(|text| {
            let link = || ("link", minijinja::Value::from("x".repeat(LONGEST_LINK)));
            let [[some], [none]] = minutes();
            self.text(
                "reinvite.text",
                text,
                &[&[link(), some], &[link(), none]],
                LONGEST_MESSAGE,
            )
        });
        let button = self.given("reinvite.button", raw.button.as_ref());
        let button = button.and_then(|text| self.text("reinvite.button", text, &[&[]], LONGEST_LABEL));
        Some(ReinviteConfig {
            enabled: enabled?,
            text: text?,
            button: button?,
        })
    }

    /// A template whose every filling fits.
    fn text(&mut self, key: &str, source: &str, samples: &[&Sample<'_>], most: usize) -> Option<Template> {
        Template::parse(source, samples, most)
            .map_err(|error| self.bad(key, format!("cannot be used: {error}"), for_example(key)))
            .ok()
    }
}

/// As long as links with many scopes and a long redirect URI are.
const LONGEST_LINK: usize = 1_000;

impl BuiltIn {
    fn texts(&self) -> Phrases {
        Phrases {
            locale: self.locale.to_owned(),
            description: Template::built_in(self.description),
            purpose: Template::built_in(self.purpose),
            link: Template::built_in(self.link),
            button: Template::built_in(self.button),
            later: Template::built_in(self.later),
            failed: Template::built_in(self.failed),
            gone: Template::built_in(self.gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_texts_keep_their_own_rules() {
        let [some, none] = minutes();
        let seconds: &Sample<'_> = &[("seconds", 3600.into())];
        for b in &BUILT_IN {
            assert!(LOCALES.contains(&b.locale));
            for (source, samples, most) in [
                (b.description, &[&[][..]][..], LONGEST_DESCRIPTION),
                (b.purpose, &[&[]], LONGEST_DESCRIPTION),
                (b.gone, &[&[]], LONGEST_MESSAGE),
                (b.link, &[&some[..], &none[..]], LONGEST_MESSAGE),
                (b.button, &[&[]], LONGEST_LABEL),
                (b.later, &[seconds], LONGEST_MESSAGE),
                (b.failed, &[&[]], LONGEST_MESSAGE),
            ] {
                Template::parse(source, samples, most).unwrap_or_else(|e| panic!("{source}: {e}"));
            }
        }
        assert_eq!(BUILT_IN[0].locale, BASE);
    }
}
