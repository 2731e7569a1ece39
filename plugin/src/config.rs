//! What an app may set: in `tauri.conf.json` under `plugins.0ksync`, or in Rust through [`crate::Builder`].

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sync_client::{Code, Passphrase, RelayAddress, SyncConfig, SyncError};

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
    fn an_address_that_cannot_be_read_has_its_error_and_a_misspelt_key_too() {
        let choices = Choices { file: file(r#"{"relay": "sync.example.org"}"#), ..Choices::default() };
        assert_eq!(choices.client(None, "a", Path::new("/")).unwrap_err().code, Code::AddressInvalid);
        let choices = Choices { file: file(r#"{"vault": "safe"}"#), ..Choices::default() };
        assert_eq!(choices.client(None, "a", Path::new("/")).unwrap_err().code, Code::InvalidArgument);
        assert!(serde_json::from_str::<Config>(r#"{"relais": "embedded"}"#).is_err());
    }
}
