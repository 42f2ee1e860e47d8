//! The texts of the slash command and of invitations: their rules, and those that are built in.

use toml::{Table, Value};

use super::check::At;
use super::rules::{Rule, one_of, parsed, text};
use super::section::{Changes, Section, keys};
use super::shape::{Key, Shape, below};
use super::tree::{items, of_toml, text as text_of};
use crate::text::{BASE, LONGEST_LABEL, LONGEST_MESSAGE, Phrases, Template, language};

/// The longest description of a command, in characters (Discord Docs/Interactions/Application Commands).
const LONGEST_DESCRIPTION: usize = 100;
/// Discord's names of languages (Discord Docs/Reference/Locales), and [`BASE`].
const LOCALES: [&str; 35] = [
    BASE, "ar", "bg", "cs", "da", "de", "el", "en-GB", "en-US", "es-419", "es-ES", "fi", "fr", "he", "hi", "hr", "hu",
    "id", "it", "ja", "ko", "lt", "nl", "no", "pl", "pt-BR", "ro", "ru", "sv-SE", "th", "tr", "uk", "vi", "zh-CN",
    "zh-TW",
];

/// As long as links with many scopes and a long redirect URI are.
const LONGEST_LINK: usize = 1_000;

keys!(impl Phrases {
    /// Discord's name of the language, such as "de", "fr" or "pt-BR". "en" serves all users whose language is not listed.
    locale: String, locale();
    /// The description of the command in Discord.
    description: Template, message(&[], LONGEST_DESCRIPTION);
    /// The description of the choice of a purpose, where state.purposes has several.
    purpose: Template, message(&[], LONGEST_DESCRIPTION).not_required();
    /// The text above the button with the link; {{ minutes }} is none where links do not expire.
    link: Template, message(&["minutes"], LONGEST_MESSAGE);
    /// The text on the button.
    button: Template, message(&[], LONGEST_LABEL);
    /// The answer when no more users can sign in just now.
    later: Template, message(&["seconds"], LONGEST_MESSAGE);
    /// The answer when something went wrong.
    failed: Template, message(&[], LONGEST_MESSAGE);
    /// The answer when the chosen purpose is no longer offered.
    gone: Template, message(&[], LONGEST_MESSAGE).not_required();
});

/// The built-in texts, in TOML.
const BUILT_IN: &str = r#"[
  {
    locale = "en",
    description = "Connect your account",
    purpose = "What for",
    link = "Open this link to connect your account.{% if minutes %} It is good for {{ minutes }} min, once, and for you alone.{% endif %}",
    button = "Connect",
    later = "Many people are connecting just now. Please try again in {{ seconds }} s: a place is kept for you then, for half a minute. It may be sooner.",
    failed = "That did not work. Please try again later.",
    gone = "What you chose is not offered any more. Please use the command again.",
  },
  {
    locale = "de",
    description = "Verbinde dein Konto",
    purpose = "Wofür",
    link = "Öffne diesen Link, um dein Konto zu verbinden.{% if minutes %} Er gilt {{ minutes }} Min., einmal und nur für dich.{% endif %}",
    button = "Verbinden",
    later = "Gerade verbinden sich sehr viele. Bitte versuche es in {{ seconds }} s noch einmal: Dann ist ein Platz für dich frei, eine halbe Minute lang. Es kann auch schneller gehen.",
    failed = "Das hat nicht geklappt. Bitte versuche es später noch einmal.",
    gone = "Was du ausgewählt hast, gibt es nicht mehr. Bitte benutze den Befehl noch einmal.",
  },
]"#;
/// Texts that a further language may leave out: configurations of earlier versions do not have them.
const LATER: [&str; 2] = ["purpose", "gone"];

/// The texts of every language; those that are not given are built in.
pub(super) fn texts() -> Rule<Vec<Phrases>> {
    let rule = Rule::new(Shape::List(Box::new(Shape::Table(Phrases::keys()))), |at| {
        let given: Vec<_> = at.items().iter().map(locale_of).collect();
        at.once(&given, ".locale", "language");
        let mut texts = at.each(|at| {
            let node = at.node?;
            let mut texts = built_in_for(locale_of(node));
            texts.extend(node.as_table()?.clone());
            read(at, &Value::Table(texts))
        });
        let built_in = of_toml(BUILT_IN);
        for node in items(Some(&built_in)) {
            if !given.contains(&locale_of(node)) {
                texts.push(read(at, node));
            }
        }
        let mut texts: Vec<_> = texts.into_iter().collect::<Option<_>>()?;
        texts.sort_by(|a: &Phrases, b| (a.locale != BASE, &a.locale).cmp(&(b.locale != BASE, &b.locale)));
        Some(texts)
    });
    rule.not_required()
}

fn read(at: &mut At<'_, '_>, node: &Value) -> Option<Phrases> {
    Phrases::read(&mut At {
        check: at.check,
        path: at.path.clone(),
        node: Some(node),
    })
}

fn locale_of(node: &Value) -> Option<String> {
    text_of(node.get("locale"))
}

/// What a block of this language may leave out.
fn built_in_for(locale: Option<String>) -> Table {
    let all = of_toml(BUILT_IN);
    let of = |language: &str| {
        let mut all = items(Some(&all)).iter().filter_map(Value::as_table);
        all.find(|texts| texts["locale"].as_str() == Some(language))
    };
    let known = locale.filter(|locale| LOCALES.contains(&locale.as_str()));
    let own = known.as_deref().map(language).and_then(of);
    let mut texts = own.or(of(BASE)).expect("English is built in").clone();
    // Of a language that is not known nothing is called missing.
    let partly = known.is_some() && own.is_none();
    texts.retain(|name, _| name != "locale" && (!partly || LATER.contains(&name)));
    texts
}

fn locale() -> Rule<String> {
    text("", |text, at| {
        let known = LOCALES.contains(&text).then(|| text.to_owned());
        known.or_else(|| one_of(text, &LOCALES, at))
    })
}

/// A command's name in Discord.
pub(super) fn command_name() -> Rule<String> {
    let bounds = "1 to 32 letters and digits of any script, `-` and `_`, in lower case and without the slash";
    parsed(bounds, "not a valid command name", None, |name| {
        let fits = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        let fits = (1..=32).contains(&name.chars().count()) && name.chars().all(fits) && name.to_lowercase() == name;
        fits.then(|| name.to_owned())
    })
}

/// A template that knows some names and whose every filling has 1 to `most` characters.
pub(super) fn message(knows: &'static [&'static str], most: usize) -> Rule<Template> {
    text(format!("1 to {most} characters"), move |text, at| {
        // Links without an expiry have no minutes.
        let samples = [minijinja::Value::from(1440), ().into()].map(|minutes| {
            let sample = knows.iter().map(|name| match *name {
                "minutes" => (*name, minutes.clone()),
                "link" => (*name, "x".repeat(LONGEST_LINK).into()),
                _ => (*name, 3600.into()),
            });
            sample.collect::<Vec<_>>()
        });
        let template = Template::parse(text, &samples.each_ref().map(Vec::as_slice), most);
        template
            .map_err(|error| at.unlike_example::<()>(format!("cannot be used: {error}")))
            .ok()
    })
}
