//! What an app may set: in `tauri.conf.json` under `plugins.0ksync`, or in Rust through [`crate::Builder`].

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sync_client::{Code, FilesPolicy, Passphrase, RelayAddress, SyncConfig, SyncError};

/// `plugins.0ksync` of `tauri.conf.json`. All of it may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The relay's address: `embedded` (the default), `https://sync.example.org` or `ksync://ENDPOINT@host:port`. This is the
    /// one value in which the ways of hosting differ.
    pub relay: Option<String>,
    /// How devices find each other where the relay is `embedded`: `off`, `lan`, `public` (the default), `dht`, `dht:HOST:PORT`, or
    /// `RELAY,LOOKUP`, the URLs of an iroh relay and a pkarr relay of one's own.
    pub discovery: Option<String>,
    /// What people call this device; by default the host's name.
    pub device_name: Option<String>,
    /// Where a new device keeps the key that seals its data: `keychain`, `file`, or `passphrase`, for which each start waits until
    /// a page calls `sync.unlock`. By default the system's keychain if one answers, and a file of the device's own if not.
    pub vault: Option<String>,
    /// Whether this device leaves each snapshot at the relay too, sealed for the group's recovery kit, so that the 24 words bring back
    /// what is in it. By default not.
    pub kit_snapshots: Option<bool>,
    /// Which files are carried by themselves, and how, until a page says otherwise by `sync.files.setPolicy`.
    /// [`crate::Builder::files`] goes before all of this, not key by key.
    pub files: Option<FilesConfig>,
}

/// `plugins.0ksync.files` of `tauri.conf.json`: where a [`FilesPolicy`] begins. What is left out is as [`FilesPolicy::default`] has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilesConfig {
    /// Up to which size, in bytes, files of other devices are fetched by themselves; larger ones when they are asked for. By
    /// default 67,108,864, which is 64 MiB.
    pub automatic_up_to: Option<u64>,
    /// Whether nothing is fetched or given by itself. By default not.
    pub paused: Option<bool>,
    /// Whether content goes straight from device to device where one reaches the other: members tell each other their addresses for
    /// that. By default it does; with `false` it goes by the relays alone.
    pub direct: Option<bool>,
}

impl From<FilesPolicy> for FilesConfig {
    fn from(FilesPolicy { automatic_up_to, paused, direct }: FilesPolicy) -> Self {
        Self { automatic_up_to: Some(automatic_up_to), paused: Some(paused), direct: Some(direct) }
    }
}

impl From<FilesConfig> for FilesPolicy {
    fn from(FilesConfig { automatic_up_to, paused, direct }: FilesConfig) -> Self {
        let default = Self::default();
        Self {
            automatic_up_to: automatic_up_to.unwrap_or(default.automatic_up_to),
            paused: paused.unwrap_or(default.paused),
            direct: direct.unwrap_or(default.direct),
        }
    }
}

/// What [`crate::Builder`] was told; it goes before the configuration file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) file: Config,
    pub(crate) home: Option<PathBuf>,
    pub(crate) passphrase: Option<Passphrase>,
}

impl Choices {
    /// The client's configuration. An address that cannot be read is an error of every call, not of the app's start.
    pub(crate) fn client(&self, file: Option<&Config>, app_id: &str, data: &Path) -> Result<SyncConfig, SyncError> {
        let either = |pick: fn(&Config) -> Option<&String>| pick(&self.file).or(file.and_then(pick));
        let home = self.home.clone().unwrap_or_else(|| data.join("0ksync"));
        let mut config = SyncConfig::at(home).app_id(app_id);
        if let Some(text) = either(|c| c.relay.as_ref()) {
            let address = text.parse::<RelayAddress>();
            config = config.relay(address.map_err(|e| SyncError::new(Code::AddressInvalid, e.to_string()))?);
        }
        if let Some(how) = either(|c| c.discovery.as_ref()) {
            config = config.discovery(how.parse()?);
        }
        if let Some(name) = either(|c| c.device_name.as_ref()) {
            config = config.device_name(name);
        }
        if let Some(kind) = either(|c| c.vault.as_ref()) {
            config = config.vault(kind.parse()?);
        }
        config.kit_snapshots = self.file.kit_snapshots.or(file.and_then(|c| c.kit_snapshots));
        if let Some(files) = self.file.files.or(file.and_then(|c| c.files)) {
            config = config.files(files.into());
        }
        config.passphrase.clone_from(&self.passphrase);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn nothing_has_to_be_said() {
        let config = Choices::default().client(None, "org.example.app", Path::new("/data")).unwrap();
        assert_eq!(config.home.as_deref(), Some(Path::new("/data/0ksync")));
        assert_eq!(config.app_id.as_deref(), Some("org.example.app"));
        assert_eq!(config.relay, None);
    }

    #[test]
    fn what_rust_says_goes_before_the_file() {
        let choices = Choices {
            file: file(r#"{"deviceName": "from Rust"}"#),
            home: Some("/elsewhere".into()),
            ..Choices::default()
        };
        let from_file = file(r#"{"deviceName": "from the file", "relay": "embedded"}"#);
        let config = choices.client(Some(&from_file), "a", Path::new("/data")).unwrap();
        assert_eq!(config.device_name.as_deref(), Some("from Rust"));
        assert_eq!(config.home.as_deref(), Some(Path::new("/elsewhere")));
        assert_eq!(config.relay, Some(RelayAddress::Embedded));
    }

    #[test]
    fn where_files_begin_may_be_said_key_by_key_and_rust_says_all_of_it() {
        let begins =
            |choices: &Choices, text: &str| choices.client(Some(&file(text)), "a", Path::new("/data")).unwrap().files;
        let default = FilesPolicy::default();
        let nothing = Choices::default();
        assert_eq!(begins(&nothing, "{}"), default);
        assert_eq!(begins(&nothing, r#"{"files": {}}"#), default);
        assert_eq!(begins(&nothing, r#"{"files": {"paused": true}}"#), FilesPolicy { paused: true, ..default });
        let said = r#"{"files": {"automaticUpTo": 5000000000, "direct": false}}"#;
        let from_file = FilesPolicy { automatic_up_to: 5_000_000_000, direct: false, ..default };
        assert_eq!(begins(&nothing, said), from_file);
        // Also what Rust left as it is by default.
        let rust = FilesPolicy { paused: true, ..default };
        let choices = Choices { file: Config { files: Some(rust.into()), ..Config::default() }, ..Choices::default() };
        assert_eq!(begins(&choices, said), rust);
    }

    #[test]
    fn what_is_no_policy_for_files_is_an_error() {
        for wrong in
            [r#"{"directly": true}"#, r#"{"automaticUpTo": -1}"#, r#"{"automaticUpTo": "1"}"#, r#"{"paused": 1}"#]
        {
            assert!(serde_json::from_str::<Config>(&format!(r#"{{"files": {wrong}}}"#)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_read_has_its_error_and_a_misspelt_key_too() {
        let choices = Choices { file: file(r#"{"relay": "sync.example.org"}"#), ..Choices::default() };
        assert_eq!(choices.client(None, "a", Path::new("/")).unwrap_err().code, Code::AddressInvalid);
        let choices = Choices { file: file(r#"{"vault": "safe"}"#), ..Choices::default() };
        assert_eq!(choices.client(None, "a", Path::new("/")).unwrap_err().code, Code::InvalidArgument);
        assert!(serde_json::from_str::<Config>(r#"{"relais": "embedded"}"#).is_err());
    }
}
