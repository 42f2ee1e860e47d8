//! Texts that an operator may change: minijinja templates. Checking the configuration renders each once with sample values,
//! so that a broken template never reaches a user.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

/// The longest text of a message, in characters (Discord Docs/Resources/Message).
pub const LONGEST_MESSAGE: usize = 2_000;
/// The longest text on a button, in characters (Discord Docs/Components/Reference, button).
pub const LONGEST_LABEL: usize = 80;

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
}

/// The fallback language.
pub const BASE: &str = "en";

/// One language's texts of the slash command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrases {
    /// Discord's name of the language, or [`BASE`].
    pub locale: String,
    /// The command's description, 1 to 100 characters.
    pub description: Template,
    /// The description of the option that selects a purpose, 1 to 100 characters.
    pub purpose: Template,
    /// The text above the button; may use `minutes`, which is none if links do not expire.
    pub link: Template,
    /// The button's label, 1 to 80 characters.
    pub button: Template,
    /// The answer when the gate is full; may use `seconds`.
    pub later: Template,
    /// The answer when no link could be created.
    pub failed: Template,
    /// The answer when the chosen purpose was removed from the configuration.
    pub gone: Template,
}

impl Phrases {
    /// The texts for a client's language: the same locale, another of the same language, or [`BASE`].
    pub fn choose<'a>(all: &'a [Self], locale: &str) -> Option<&'a Self> {
        all.iter()
            .find(|p| p.locale == locale)
            .or_else(|| all.iter().find(|p| p.locale == language(locale)))
            .or_else(|| all.iter().find(|p| p.locale == BASE))
    }
}

/// The language of a locale: `pt` of `pt-BR`.
pub fn language(locale: &str) -> &str {
    locale.split('-').next().unwrap_or(locale)
}

/// A template's variables, each with the longest value it can have.
pub type Sample<'a> = [(&'a str, Value)];

/// Why a text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It is no valid template, or rendering fails.
    #[error("{0}")]
    Broken(String),
    /// It uses an unknown variable.
    #[error("uses `{0}`, which is not defined")]
    Unknown(String),
    /// It renders to nothing, or to too many characters.
    #[error("renders to {got} characters, not 1 to {most}")]
    Length {
        /// The number of characters.
        got: usize,
        /// The limit.
        most: usize,
    },
}

impl Template {
    /// Renders the template with each sample.
    pub fn parse(source: &str, samples: &[&Sample<'_>], most: usize) -> Result<Self, TextError> {
        let template = Self {
            source: source.to_owned(),
        };
        let environment = environment();
        let parsed = environment
            .template_from_str(source)
            .map_err(|error| TextError::Broken(of(&error)))?;
        let known = samples.first().copied().unwrap_or_default();
        let mut unknown: Vec<_> = parsed.undeclared_variables(false).into_iter().collect();
        unknown.sort_unstable();
        let helps = |name: &String| environment.globals().any(|(global, _)| global == name);
        unknown.retain(|name| known.iter().all(|(k, _)| k != name) && !helps(name));
        if let Some(first) = unknown.into_iter().next() {
            return Err(TextError::Unknown(first));
        }
        for sample in samples {
            let filled = template.fill(sample)?;
            let got = filled.trim().chars().count();
            if !(1..=most).contains(&got) {
                return Err(TextError::Length { got, most });
            }
        }
        Ok(template)
    }

    /// A built-in template.
    pub fn built_in(source: &str) -> Self {
        Self {
            source: source.to_owned(),
        }
    }

    /// Renders the template.
    pub fn fill(&self, values: &Sample<'_>) -> Result<String, TextError> {
        let values = Value::from_pairs(values.iter().map(|(name, value)| (*name, value.clone())));
        let filled = environment().render_str(&self.source, values);
        filled.map_err(|error| TextError::Broken(of(&error)))
    }

    /// Whether the template uses a variable.
    pub fn uses(&self, name: &str) -> bool {
        let environment = environment();
        let parsed = environment.template_from_str(&self.source);
        parsed.is_ok_and(|t| t.undeclared_variables(false).contains(name))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    // The output goes into JSON, never into HTML.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// minijinja's error without its internal template name, which means nothing to the operator.
fn of(error: &minijinja::Error) -> String {
    let kind = error.kind().to_string();
    let line = error.line().map(|line| format!(" (line {line} of the text)"));
    let detail = error.detail().map(|detail| format!(": {detail}"));
    format!("{kind}{}{}", detail.unwrap_or_default(), line.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(n: Option<u64>) -> [(&'static str, Value); 1] {
        [("minutes", n.map_or(Value::from(()), Value::from))]
    }

    fn parse(source: &str) -> Result<Template, TextError> {
        Template::parse(source, &[&minutes(Some(5)), &minutes(None)], 40)
    }

    #[test]
    fn a_text_is_filled_in_as_it_stands() {
        let text = parse("<b>{% if minutes %} {{ minutes }} min & more{% endif %}").expect("good");
        assert_eq!(text.fill(&minutes(Some(7))).as_deref(), Ok("<b> 7 min & more"));
        assert_eq!(text.fill(&minutes(None)).as_deref(), Ok("<b>"));
        assert!(text.uses("minutes") && !text.uses("link"));
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let check = |source: &str, want: &str| {
            let error = parse(source).expect_err(source).to_string();
            assert!(error.contains(want), "{source}: {error}");
        };
        check("{{ minutes", "syntax error");
        check("{% if minutes %}", "syntax error");
        check("in {{ seconds }} s", "uses `seconds`, which is not defined");
        check("{{ minutes | nosuch }}", "nosuch");
        check("{{ minutes.x.y }}", "undefined");
        check("{% if minutes %}{% endif %}", "renders to 0 characters, not 1 to 40");
        check(
            "a text that is longer than a person wants to read",
            "renders to 49 characters",
        );
        check(
            "only {% if not minutes %}x{{ 1 / 0 }}{% endif %}",
            "unable to calculate",
        );
    }
}
