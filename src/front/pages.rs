//! The pages that users see after Discord's consent page: built in, in four languages, or from the operator's folder.
//!
//! A page loads no other content, and its only script removes the code from the address bar. Every template is rendered
//! once at the start, so that a broken one stops the start and not a visitor.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use rand::TryRng as _;
use rand::rngs::SysRng;

use super::face::Face;
use super::page::{Language, Page};

/// Why the pages cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file's name is no page.
    #[error("`{}` is not a page: use {} with .html, or with a language such as .de.html", path.display(), names())]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The template is invalid, or rendering it fails.
    #[error("`{}` is not a valid template", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: minijinja::Error,
    },
    /// The template would leave the code in the address bar.
    #[error("`{}` lacks `{{{{ wipe }}}}`, the script that removes the code from the address bar: put it into the head", path.display())]
    NoWipe {
        /// The file.
        path: PathBuf,
    },
}

fn names() -> String {
    Page::ALL.map(Page::name).join(", ")
}

/// Removes the query from the address bar and from the browser's history.
const WIPE: &str = r#"history.replaceState(null,"",location.pathname)"#;

/// A rendered page.
#[derive(Debug)]
pub struct Rendered {
    /// The document.
    pub html: String,
    /// Its `Content-Security-Policy`: only its own style and script, by a fresh nonce.
    pub policy: String,
    /// Its language.
    pub language: String,
}

/// One page by requested language: its actual language, and the document.
pub type Variants = BTreeMap<String, (String, String)>;

/// Every page in every available language.
#[derive(Debug)]
pub struct Pages {
    environment: Environment<'static>,
    /// The operator's templates by page and language; `""` for a file without a language.
    own: BTreeMap<(Page, String), String>,
    face: Face,
}

impl Pages {
    /// The built-in pages, replaced by the files of a folder if given.
    pub fn load(folder: Option<&Path>, face: Face) -> Result<Self, PagesError> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment
            .add_template("page", include_str!("pages/page.html"))
            .expect("the built-in page is a template");
        let mut pages = Self {
            environment,
            own: BTreeMap::new(),
            face,
        };
        for path in folder.map_or(Ok(Vec::new()), files_of)? {
            pages.add(&path)?;
        }
        Ok(pages)
    }

    /// What they show of the application.
    pub fn face(&self) -> &Face {
        &self.face
    }

    fn add(&mut self, path: &Path) -> Result<(), PagesError> {
        let path = path.to_owned();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((page, language)) = meant(name) else {
            return Err(PagesError::Unknown { path });
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(PagesError::Read { path, source }),
        };
        let name = name.to_owned();
        let failed = |source| PagesError::Template {
            path: path.clone(),
            source,
        };
        self.environment
            .add_template_owned(name.clone(), text)
            .map_err(failed)?;
        let tried = self.fill(&name, page, &language, "nonce", Some("access_denied"), None);
        if !tried.map_err(failed)?.contains(WIPE) {
            return Err(PagesError::NoWipe { path });
        }
        self.own.insert((page, language), name);
        Ok(())
    }

    /// A page in the best language for an `Accept-Language` header; `error` is what Discord sent instead of a code.
    pub fn render(&self, page: Page, accept_language: &str, error: Option<&str>) -> Rendered {
        let mut random = [0; 16];
        // Without random bytes there is no nonce; the browser then ignores the page's style and script.
        let nonce = SysRng
            .try_fill_bytes(&mut random)
            .map_or_else(|_| String::new(), |()| URL_SAFE_NO_PAD.encode(random));
        let (template, language) = self.choose(page, accept_language);
        let html = self.fill(template, page, &language, &nonce, error, self.face.shown_icon());
        let html = html.unwrap_or_else(|error| {
            tracing::error!(page = page.name(), %error, "a page could not be rendered from its template");
            page.words(Language::English).join(": ")
        });
        let own = match nonce.as_str() {
            "" => "'none'".to_owned(),
            nonce => format!("'nonce-{nonce}'"),
        };
        Rendered {
            html,
            policy: format!(
                "default-src 'none'; style-src {own}; script-src {own}; img-src data:; base-uri 'none'; \
                 form-action 'none'; frame-ancestors 'none'"
            ),
            language,
        }
    }

    fn fill(
        &self,
        template: &str,
        page: Page,
        language: &str,
        nonce: &str,
        error: Option<&str>,
        icon: Option<&str>,
    ) -> Result<String, minijinja::Error> {
        let base = language.split('-').next().unwrap_or_default();
        let known = Language::ALL.into_iter().find(|(code, _)| *code == base);
        let (_, words) = known.unwrap_or(Language::ALL[0]);
        let [title, text] = page.words(words);
        let wipe = format!("<script nonce=\"{nonce}\">{WIPE}</script>");
        self.environment.get_template(template)?.render(context! {
            page => page.name(),
            lang => if language.is_empty() { "en" } else { language },
            title,
            text,
            back => words.back(),
            name => self.face.shown_name(),
            icon => icon.map(|icon| Value::from_safe_string(icon.to_owned())),
            accent => &self.face.accent,
            on_accent => self.face.on_accent(),
            back_url => &self.face.back_url,
            mark => page.mark().name(),
            drawing => page.mark().drawing(),
            error,
            nonce,
            wipe => Value::from_safe_string(wipe),
        })
    }

    /// Every page in every language, for the Worker, which cannot render templates: by page and language, `""` for any other
    /// language. Nonce, error and icon are placeholders for the Worker to replace. A denial with `access_denied` has an entry of
    /// its own, because templates may compare the error.
    pub fn filled(&self, nonce: &str, error: &str, icon: &str) -> Result<BTreeMap<String, Variants>, minijinja::Error> {
        let mut filled = BTreeMap::new();
        let icon = self.face.shown_icon().map(|_| icon);
        for page in Page::ALL {
            let errors = match page {
                Page::Denied => vec![Some(error), Some("access_denied")],
                _ => vec![None],
            };
            for told in errors {
                let name = match told {
                    Some(own) if own != error => format!("{} {own}", page.name()),
                    _ => page.name().to_owned(),
                };
                let own = self
                    .own
                    .keys()
                    .filter(|(of, _)| *of == page)
                    .map(|(_, lang)| lang.as_str());
                let built_in = Language::ALL.iter().map(|(code, _)| *code);
                let mut variants = Variants::new();
                for wanted in own.chain(built_in).chain([""]) {
                    let (template, language) = self.choose(page, wanted);
                    let html = self.fill(template, page, &language, nonce, told, icon)?;
                    variants.insert(wanted.to_owned(), (language, html));
                }
                filled.insert(name, variants);
            }
        }
        Ok(filled)
    }

    /// The template and its language: for each accepted language in order the operator's file, then the built-in page;
    /// without a match the operator's file without a language, then English.
    fn choose(&self, page: Page, accept_language: &str) -> (&str, String) {
        let own = |language: &str| self.own.get(&(page, language.to_owned())).map(String::as_str);
        for wanted in wanted(accept_language) {
            let base = wanted.split('-').next().unwrap_or_default();
            for language in [wanted.as_str(), base] {
                if let Some(template) = own(language) {
                    return (template, language.to_owned());
                }
            }
            // A file without a language is used for English, and for languages without a page.
            if let Some((code, _)) = Language::ALL.iter().find(|(code, _)| *code == base) {
                let any = own("").filter(|_| *code == "en");
                return (any.unwrap_or("page"), (*code).to_owned());
            }
        }
        (own("").or_else(|| own("en")).unwrap_or("page"), "en".to_owned())
    }
}

/// The page and language of a file name.
fn meant(name: &str) -> Option<(Page, String)> {
    let stem = name.strip_suffix(".html")?;
    let (page, language) = stem.split_once('.').unwrap_or((stem, ""));
    let language = language.to_ascii_lowercase();
    let fits = language.len() <= 35 && language.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let page = Page::ALL.into_iter().find(|p| p.name() == page)?;
    fits.then_some((page, language))
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, PagesError> {
    let failed = |source| PagesError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Editors leave such files.
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The languages of an `Accept-Language` header (RFC 9110 section 12.5.4), in lower case, by descending weight.
fn wanted(header: &str) -> Vec<String> {
    let mut languages: Vec<(u32, String)> = header
        .split(',')
        // No browser sends more; a longer header is an attack.
        .take(16)
        .filter_map(|part| {
            let mut words = part.split(';').map(str::trim);
            let language = words.next().filter(|l| !l.is_empty() && *l != "*")?;
            let weight = words
                .find_map(|w| w.strip_prefix("q="))
                .map_or(Ok(1.0), str::parse::<f32>);
            let weight = weight.ok().filter(|w| *w > 0.0 && *w <= 1.0)?;
            Some(((weight * 1000.0) as u32, language.to_ascii_lowercase()))
        })
        .collect();
    languages.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    languages.into_iter().map(|(_, language)| language).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(pages: &Pages, header: &str) -> String {
        pages.render(Page::Success, header, None).language
    }

    #[test]
    fn the_browsers_language_is_taken_where_there_is_one() {
        let pages = Pages::load(None, Face::default()).expect("built in");
        for (header, expected) in [
            ("", "en"),
            ("de", "de"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("it-IT,it;q=0.9,de;q=0.3,en;q=0.5", "en"),
            ("it, de;q=0.1", "de"),
            ("it", "en"),
            ("fr-CA", "fr"),
            ("es-419,es;q=0.9", "es"),
            ("de;q=0, en;q=0.1", "en"),
            ("*;q=1, ;;;, de;q=abc", "en"),
        ] {
            assert_eq!(language(&pages, header), expected, "{header}");
        }
        let german = pages.render(Page::Busy, "de", None).html;
        assert!(
            german.contains("<html lang=\"de\">") && german.contains("Zu viele auf einmal"),
            "{german}"
        );
    }

    #[test]
    fn a_page_stands_alone_and_allows_nothing_but_itself() {
        let pages = Pages::load(None, Face::default()).expect("built in");
        for page in Page::ALL {
            let one = pages.render(page, "en", Some("access_denied"));
            let nonce = one.policy.split("'nonce-").nth(1).and_then(|n| n.split('\'').next());
            let nonce = nonce.expect("a nonce");
            assert_eq!(
                one.html.matches(&format!("nonce=\"{nonce}\"")).count(),
                2,
                "{}",
                one.html
            );
            let addresses = one.html.matches("//").count() + one.html.matches("&#x2f;&#x2f;").count();
            assert_eq!(addresses, 1, "one link, and nothing is loaded: {}", one.html);
            assert!(one.html.contains(WIPE));
            let again = pages.render(page, "en", None);
            assert_ne!(again.policy, one.policy, "a nonce is used once");
            assert!(again.policy.starts_with("default-src 'none'; "));
        }
    }

    #[test]
    fn a_page_shows_the_application_once_it_is_known_and_leads_back() {
        let face = Face::of(None, "#00ff00", "https://discord.com/channels/1/2?a=\"b\"");
        let pages = Pages::load(None, face).expect("built in");
        let html = |page| pages.render(page, "en", None).html;
        assert!(!html(Page::Completed).contains("<header>"));
        pages
            .face()
            .learn("<Door>".to_owned(), Some("data:image/png;base64,AAAA".to_owned()));
        let shown = html(Page::Completed);
        for part in [
            "<span>&lt;Door&gt;</span>",
            "<img src=\"data:image/png;base64,AAAA\" alt=\"\">",
            "channels&#x2f;1&#x2f;2?a=&quot;b&quot;",
            "--accent: #00ff00;",
            "color: #000;",
            "class=\"mark good\"",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(html(Page::WrongPerson).contains("Wrong account"));
        let policy = pages.render(Page::Home, "en", None).policy;
        let images = policy
            .split("; ")
            .filter(|part| part.contains("img") || part.contains("data:"));
        assert_eq!(images.collect::<Vec<_>>(), ["img-src data:"], "{policy}");
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn the_operators_files_go_before_the_built_in_pages() {
        let own = folder(&[
            ("success.de.html", "<p>Danke!</p>{{ wipe }}"),
            ("success.pt-BR.html", "<p>Obrigado!</p>{{ wipe }}"),
            ("success.html", "<p>{{ title }}, {{ lang }}</p>{{ wipe }}"),
            ("denied.html", "<p>{{ error }}</p>{{ wipe }}"),
            (".success.html.swp", "an editor's"),
        ]);
        let pages = Pages::load(Some(own.path()), Face::default()).expect("they work");
        let says = |page, header, text: &str| {
            let html = pages.render(page, header, Some("<b>access_denied</b>")).html;
            assert!(html.contains(text), "{header}: {html}");
        };
        says(Page::Success, "de-CH", "Danke!");
        says(Page::Success, "pt-br,de", "Obrigado!");
        says(Page::Success, "pt,en", "Almost done…, en");
        says(Page::Success, "it", "Almost done…, en");
        says(Page::Denied, "it", "&lt;b&gt;access_denied&lt;&#x2f;b&gt;");
        says(Page::Denied, "de", "Es wurde nichts freigegeben");
        says(Page::Expired, "en", "has expired");
    }

    #[test]
    fn a_folder_that_would_fail_a_visitor_fails_the_start() {
        let why = |files: &[(&str, &str)]| {
            let own = folder(files);
            let error = Pages::load(Some(own.path()), Face::default()).expect_err("it does not work");
            error.to_string().replace(&format!("{}/", own.path().display()), "")
        };
        assert!(why(&[("sucess.html", "")]).starts_with("`sucess.html` is not a page: use success, completed,"));
        assert!(why(&[("success.htm", "")]).contains("not a page"));
        assert_eq!(why(&[("busy.html", "{% if %}")]), "`busy.html` is not a valid template");
        assert_eq!(
            why(&[("busy.html", "{{ titel }}{{ wipe }}")]),
            "`busy.html` is not a valid template"
        );
        assert!(why(&[("busy.html", "<p>{{ title }}</p>")]).contains("lacks `{{ wipe }}`"));
        let nowhere = Pages::load(Some(Path::new("/nowhere/pages")), Face::default()).expect_err("not there");
        assert_eq!(nowhere.to_string(), "cannot read `/nowhere/pages`");
    }
}
