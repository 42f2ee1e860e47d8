//! What pages show of the application: its name and icon, a colour, and where the button leads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An icon is part of every page.
pub const LARGEST_ICON: usize = 64 * 1024;
/// Blurple, dark enough for white letters.
pub const ACCENT: &str = "#4752c4";
/// Discord's own client.
pub const BACK: &str = "https://discord.com/app";

/// Why an icon cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum IconError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is too large, or no picture.
    #[error("`{}` is not a PNG, JPEG, GIF or WebP of at most 64 KiB", path.display())]
    NoIcon {
        /// The file.
        path: PathBuf,
    },
}

/// What the configuration says, and what Discord said since.
#[derive(Debug, Clone)]
pub struct Face {
    /// The application's name.
    pub name: Option<String>,
    /// Its icon, as a `data:` URL.
    pub icon: Option<String>,
    /// The button's colour, as `#rrggbb`.
    pub accent: String,
    /// Where the button leads.
    pub back_url: String,
    /// Name and icon as Discord has them, for what is not configured.
    learned: Arc<OnceLock<(String, Option<String>)>>,
}

impl Default for Face {
    fn default() -> Self {
        Self {
            name: None,
            icon: None,
            accent: ACCENT.to_owned(),
            back_url: BACK.to_owned(),
            learned: Arc::default(),
        }
    }
}

impl Face {
    /// With what is configured.
    pub fn of(name: Option<String>, accent: &str, back_url: &str) -> Self {
        Self {
            name,
            accent: accent.to_owned(),
            back_url: back_url.to_owned(),
            ..Self::default()
        }
    }

    /// With the icon in a file.
    pub fn with_icon(self, path: Option<&Path>) -> Result<Self, IconError> {
        let Some(path) = path else { return Ok(self) };
        let own = || path.to_owned();
        let picture = fs::read(path).map_err(|source| IconError::Read { path: own(), source })?;
        let icon = data_url(&picture).ok_or_else(|| IconError::NoIcon { path: own() })?;
        Ok(Self {
            icon: Some(icon),
            ..self
        })
    }

    /// Takes the application's name and icon from Discord, once. Pages that are shown from now on have them.
    pub fn learn(&self, name: String, icon: Option<String>) {
        let _ = self.learned.set((name, icon));
    }

    /// The name to show.
    pub fn shown_name(&self) -> Option<&str> {
        let learned = self.learned.get().map(|(name, _)| name.as_str());
        self.name.as_deref().or(learned)
    }

    /// The icon to show.
    pub fn shown_icon(&self) -> Option<&str> {
        let learned = self.learned.get().and_then(|(_, icon)| icon.as_deref());
        self.icon.as_deref().or(learned)
    }

    /// Black or white, whichever is easier to read on the button (WCAG 2.2, relative luminance).
    pub fn on_accent(&self) -> &'static str {
        let channel = |at: usize| {
            let value = self
                .accent
                .get(at..at + 2)
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            let share = f64::from(value.unwrap_or(0)) / 255.0;
            if share <= 0.04045 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        };
        let luminance = 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
        // The ratios to white and to black are equal where (L + 0.05)^2 = 1.05 x 0.05.
        if luminance > 0.179 { "#000" } else { "#fff" }
    }
}

/// A picture as a URL that holds it; `None` for what is too large or no picture.
pub fn data_url(picture: &[u8]) -> Option<String> {
    let kinds: [(&[u8], &str); 4] = [
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"GIF8", "gif"),
        (b"RIFF", "webp"),
    ];
    let (_, kind) = kinds.iter().find(|(begins, _)| picture.starts_with(begins))?;
    let fits = picture.len() <= LARGEST_ICON;
    fits.then(|| format!("data:image/{kind};base64,{}", STANDARD.encode(picture)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buttons_letters_can_be_read_on_any_colour() {
        for (accent, on) in [
            (ACCENT, "#fff"),
            ("#ffffff", "#000"),
            ("#000000", "#fff"),
            ("#ffd700", "#000"),
            ("#b00020", "#fff"),
        ] {
            let face = Face {
                accent: accent.to_owned(),
                ..Face::default()
            };
            assert_eq!(face.on_accent(), on, "{accent}");
        }
    }

    #[test]
    fn what_is_configured_goes_before_what_discord_says() {
        let face = Face::default();
        assert_eq!((face.shown_name(), face.shown_icon()), (None, None));
        let shown = face.clone();
        face.learn("Door".to_owned(), Some("data:x".to_owned()));
        assert_eq!((shown.shown_name(), shown.shown_icon()), (Some("Door"), Some("data:x")));
        let own = Face {
            name: Some("Ours".to_owned()),
            ..face
        };
        assert_eq!(own.shown_name(), Some("Ours"));
    }

    #[test]
    fn only_pictures_of_a_decent_size_are_icons() {
        assert!(
            data_url(b"\x89PNG\r\n\x1a\n...")
                .expect("a picture")
                .starts_with("data:image/png;base64,")
        );
        assert_eq!(data_url(b"<svg onload=alert(1)>"), None);
        assert_eq!(data_url(&[b"GIF89a".as_slice(), &vec![0; LARGEST_ICON]].concat()), None);
    }
}
