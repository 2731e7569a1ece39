//! What a host decides about pushes: one TOML file and the keys that it names.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::Deserialize;
use toml::Spanned;
use zeroize::{Zeroize, Zeroizing};

use super::Network;
use super::jwt::{Es256, Rs256, secret};

/// What a host decides about pushes. The default knows no app and allows no private network, which leaves Web Push.
///
/// ```toml
/// allow = ["10.0.0.0/8"]            # private networks that pushes may go to
/// roots = "ca.pem"                  # authorities that are trusted beside the system's
/// [web]
/// subject = "mailto:host@example.org"
/// [[apns]]
/// topic = "org.example.app"
/// key = "AuthKey_ABCDE12345.p8"
/// key_id = "ABCDE12345"
/// team_id = "TEAM123456"
/// [[fcm]]
/// account = "service-account.json"
/// ```
/// `url` in `[[apns]]` and `[[fcm]]` names another place than Apple's or Google's. Paths are relative to the file's
/// folder.
#[derive(Default)]
pub(crate) struct Settings {
    pub(super) subject: Option<String>,
    pub(super) apps: Vec<App>,
    pub(super) accounts: Vec<Account>,
    pub(super) allow: Vec<Network>,
    pub(super) roots: Vec<CertificateDer<'static>>,
}

/// An app on Apple's push service.
pub(super) struct App {
    pub(super) topic: String,
    pub(super) key: Es256,
    pub(super) key_id: String,
    pub(super) team_id: String,
    pub(super) url: Option<String>,
}

/// A service account on Google's.
pub(super) struct Account {
    pub(super) project: String,
    pub(super) email: String,
    pub(super) key: Rs256,
    pub(super) token_uri: String,
    pub(super) url: Option<String>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A value is wrong.
    #[error("{place}: {reason}")]
    Invalid {
        /// The file, and the line if it is known.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up for pushes: {0}")]
    Tls(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    web: WebTable,
    #[serde(default)]
    apns: Vec<ApnsTable>,
    #[serde(default)]
    fcm: Vec<FcmTable>,
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    roots: Option<Spanned<PathBuf>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebTable {
    subject: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApnsTable {
    topic: Spanned<String>,
    key: Spanned<PathBuf>,
    key_id: Spanned<String>,
    team_id: Spanned<String>,
    url: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FcmTable {
    account: Spanned<PathBuf>,
    url: Option<Spanned<String>>,
}

/// What Google writes into an account's file and matters here.
#[derive(Deserialize)]
struct AccountFile {
    project_id: String,
    client_email: String,
    #[serde(deserialize_with = "secret")]
    private_key: Zeroizing<String>,
    token_uri: String,
}

impl Settings {
    /// Reads the file at `path`, and those that it names.
    ///
    /// # Errors
    /// For a file that cannot be read, a key that is unknown or missing, and a value that cannot be used. The message
    /// names the file, the line and what to do.
    pub(crate) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = String::from_utf8(bytes(path)?.to_vec())
            .map_err(|_| invalid(path.display().to_string(), "it is no text in UTF-8"))?;
        let source = Source { path, text: &text };
        let file: File =
            toml::from_str(&text).map_err(|e| invalid(source.line(e.span().map(|span| span.start)), e.message()))?;
        let mut settings = Self::default();
        if let Some(subject) = file.web.subject {
            // RFC 8292 §2.1: whom the push service can write to.
            if !(subject.as_ref().starts_with("mailto:") || subject.as_ref().starts_with("https:")) {
                return Err(source.wrong(&subject, "subject begins with mailto: or https:"));
            }
            settings.subject = Some(subject.into_inner());
        }
        for network in file.allow {
            settings.allow.push(network.as_ref().parse().map_err(|reason: String| source.wrong(&network, &reason))?);
        }
        if let Some(roots) = file.roots {
            settings.roots = source.roots(&roots)?;
        }
        for table in file.apns {
            let app = source.app(table, &settings.apps)?;
            settings.apps.push(app);
        }
        for table in file.fcm {
            let account = source.account(table, &settings.accounts)?;
            settings.accounts.push(account);
        }
        Ok(settings)
    }
}

impl Settings {
    /// The same, with this subject (RFC 8292 §2.1) unless the file says one.
    pub(crate) fn with_subject(mut self, subject: Option<&str>) -> Self {
        self.subject = self.subject.or_else(|| subject.map(str::to_owned));
        self
    }

    /// What devices can be woken by, for people to read.
    pub(crate) fn services(&self) -> String {
        let apps = self.apps.iter().map(|app| format!("APNs for {}", app.topic));
        let projects = self.accounts.iter().map(|account| format!("FCM for {}", account.project));
        std::iter::once("Web Push".to_owned()).chain(apps).chain(projects).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: Vec<_> = self.apps.iter().map(|app| &app.topic).collect();
        let projects: Vec<_> = self.accounts.iter().map(|account| &account.project).collect();
        f.debug_struct("Settings")
            .field("apns", &topics)
            .field("fcm", &projects)
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

/// The file being read, for messages and relative paths.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, offset: Option<usize>) -> String {
        let Some(before) = offset.and_then(|offset| self.text.get(..offset)) else {
            return self.path.display().to_string();
        };
        format!("{}, line {}", self.path.display(), before.matches('\n').count() + 1)
    }

    fn wrong<T>(&self, value: &Spanned<T>, reason: &str) -> SettingsError {
        invalid(self.line(Some(value.span().start)), reason)
    }

    fn file(&self, name: &Spanned<PathBuf>) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(name.as_ref())
    }

    fn roots(&self, name: &Spanned<PathBuf>) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
        let path = self.file(name);
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(&path)?).collect();
        let invalid = || self.wrong(name, &format!("{} holds no certificates in PEM", path.display()));
        let roots = read.ok().filter(|roots| !roots.is_empty()).ok_or_else(invalid)?;
        // What is PEM need not be a certificate, which the verifier would pass over in silence.
        let mut store = rustls::RootCertStore::empty();
        if roots.iter().any(|root| store.add(root.clone()).is_err()) {
            return Err(invalid());
        }
        Ok(roots)
    }

    fn app(&self, table: ApnsTable, others: &[App]) -> Result<App, SettingsError> {
        let topic = table.topic.as_ref();
        if topic.is_empty() || !topic.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.wrong(&table.topic, "topic is the app's bundle identifier, such as org.example.app"));
        }
        if others.iter().any(|other| other.topic == *topic) {
            return Err(self.wrong(&table.topic, &format!("there are two keys for {topic}: take one away")));
        }
        for (name, id) in [("key_id", &table.key_id), ("team_id", &table.team_id)] {
            if id.as_ref().len() != 10 || !id.as_ref().bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                let reason = format!("{name} is the ten letters and digits that Apple's developer pages show");
                return Err(self.wrong(id, &reason));
            }
        }
        let path = self.file(&table.key);
        let key = pkcs8(&bytes(&path)?, Es256::from_pkcs8).ok_or_else(|| {
            let reason = "holds no P-256 key in PEM: name the .p8 file that Apple's developer pages gave";
            self.wrong(&table.key, &format!("{} {reason}", path.display()))
        })?;
        let url = table.url.map(|url| self.url(&url)).transpose()?;
        let [topic, key_id, team_id] = [table.topic, table.key_id, table.team_id].map(Spanned::into_inner);
        Ok(App { topic, key, key_id, team_id, url })
    }

    fn account(&self, table: FcmTable, others: &[Account]) -> Result<Account, SettingsError> {
        let path = self.file(&table.account);
        let wrong = |reason: &str| {
            self.wrong(
                &table.account,
                &format!(
                    "{}: {reason}: name the JSON file that Google's console gives for a service account",
                    path.display()
                ),
            )
        };
        // The library's messages quote no strings where strings are wanted, so none shows the key.
        let file: AccountFile = serde_json::from_slice(&bytes(&path)?).map_err(|e| wrong(&e.to_string()))?;
        // It becomes part of a URL.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:_".contains(c);
        if file.project_id.is_empty() || !file.project_id.chars().all(is_plain) {
            return Err(wrong("project_id is no project's identifier"));
        }
        if others.iter().any(|other| other.project == file.project_id) {
            return Err(wrong(&format!("there are two accounts for {}", file.project_id)));
        }
        if base(&file.token_uri).is_none() {
            return Err(wrong("token_uri is no URL"));
        }
        let key = pkcs8(file.private_key.as_bytes(), Rs256::from_pkcs8);
        let key = key.ok_or_else(|| wrong("private_key is no RSA key in PEM"))?;
        let url = table.url.map(|url| self.url(&url)).transpose()?;
        Ok(Account { project: file.project_id, email: file.client_email, key, token_uri: file.token_uri, url })
    }

    fn url(&self, text: &Spanned<String>) -> Result<String, SettingsError> {
        base(text.as_ref()).ok_or_else(|| self.wrong(text, "url is an address such as https://push.example.org"))
    }
}

/// A URL that a path can be put behind.
fn base(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_base = matches!(url.scheme(), "https" | "http") && url.query().is_none() && url.fragment().is_none();
    is_base.then(|| url.as_str().trim_end_matches('/').to_owned())
}

/// Reads a key in PEM, of which nothing else is left in memory.
fn pkcs8<T>(pem: &[u8], read: fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
    let key = read(der.secret_pkcs8_der());
    der.zeroize();
    key
}

fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, SettingsError> {
    let read = std::fs::read(path);
    read.map(Zeroizing::new).map_err(|source| SettingsError::Io { path: path.to_owned(), source })
}

fn invalid(place: String, reason: &str) -> SettingsError {
    SettingsError::Invalid { place, reason: reason.to_owned() }
}
