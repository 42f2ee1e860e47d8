//! How a section is declared. `keys!` makes of one block both the struct that the program uses and everything that is
//! known about its keys: the JSON schema, `config/default.toml`, the names of variables, `config show` and the
//! differences on a reload all come from [`Section::keys`] and the rules.
//!
//! A macro of our own, since serde, schemars and garde would each want the key again: serde stops at the first fault and
//! knows no line of a merged tree, schemars repeats the rules as attributes, garde sees values whose place is forgotten.
//! figment knows where a value came from, but not on which line.

use super::check::At;
use super::shape::Key;

/// A table whose keys are known.
pub(super) trait Section: Sized {
    /// What is known about each key, in the order of their declaration.
    fn keys() -> Vec<Key>;
    /// Reads every key, so that every fault is named.
    fn read(at: &mut At<'_, '_>) -> Option<Self>;
    /// Adds the keys that differ.
    fn differences(&self, new: &Self, path: &str, changes: &mut Changes);
}

/// The keys that changed, dotted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Applied at once.
    pub applied: Vec<String>,
    /// Only noted: these need a restart.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }

    /// Notes a name if what it stands for differs; `live` says that a running service applies that.
    pub(super) fn note(&mut self, name: &str, live: bool, differs: bool) {
        let noted = if live {
            &mut self.applied
        } else {
            &mut self.needs_restart
        };
        noted.extend(differs.then(|| name.to_owned()));
    }
}

/// Declares sections: `name: Type = default, rule, example value;`. Default and example are TOML. `impl` in place of
/// `struct` describes a type that another module declares; what stands in brackets behind a name is a field that is no key.
macro_rules! keys {
    ($($(#[doc = $about:literal])+
    $vis:vis struct $name:ident $(($also:ident: $also_type:ty = $value:expr, $also_help:literal))? {$(
        $(#[doc = $help:literal])+
        $field:ident: $type:ty $(= $default:tt)?, $rule:expr $(, example $example:tt)?;
    )+})+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $name {
            $($(#[doc = $help])+ pub $field: $type,)+
            $(#[doc = $also_help] pub $also: $also_type,)?
        }

        keys!(impl $name $(($also = $value))? {
            $($(#[doc = $help])+ $field: $type $(= $default)?, $rule $(, example $example)?;)+
        });
    )+};
    (impl $name:ident $(($also:ident = $value:expr))? {$(
        $(#[doc = $help:literal])+
        $field:ident: $type:ty $(= $default:tt)?, $rule:expr $(, example $example:tt)?;
    )+}) => {
        /// The rule of each key.
        impl $name {
            $(pub(super) fn $field() -> Rule<$type> { $rule })+
        }

        impl Section for $name {
            fn keys() -> Vec<Key> {
                vec![$(Key {
                    name: stringify!($field),
                    help: [$($help),+].concat().trim().to_owned(),
                    default: [$(stringify!($default))?].into_iter().next(),
                    example: [$(stringify!($example))?].into_iter().next(),
                    required: Self::$field().required,
                    shape: Self::$field().shape,
                }),+]
            }

            fn read(at: &mut At<'_, '_>) -> Option<Self> {
                $(let $field = Self::$field().read(&mut at.key(stringify!($field)));)+
                Some(Self { $($field: $field?,)+ $($also: $value(at),)? })
            }

            fn differences(&self, new: &Self, path: &str, changes: &mut Changes) {
                $(Self::$field().differences(&self.$field, &new.$field, &below(path, stringify!($field)), changes);)+
            }
        }
    };
}
pub(super) use keys;
