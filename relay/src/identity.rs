//! The relay's endpoint key. Devices pin its public half, so it must outlive every restart: it is made once, and a file
//! that cannot be read is an error, never a reason to make another.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use sync_types::Code;
use zeroize::{Zeroize, Zeroizing};

use crate::StartError;

/// The name of the key's file in the data folder.
pub const FILE: &str = "identity.key";
/// How long that file is.
pub(crate) const BYTES: u64 = 32;

/// The 32 secret bytes of the relay's Ed25519 endpoint key. Redacted in `Debug`, erased when dropped.
#[derive(Clone, Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Identity([u8; 32]);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl Identity {
    /// A new identity from the system's randomness.
    pub fn generate() -> Result<Self, StartError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|e| StartError::new(Code::Internal, format!("the system gives no randomness: {e}")))?;
        Ok(Self(bytes))
    }

    /// The identity behind 64 hexadecimal digits, as in `KSYNC_RELAY_SECRET`.
    pub fn from_hex(text: &str) -> Result<Self, StartError> {
        let bytes = Zeroizing::new(HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).unwrap_or_default());
        let bytes = bytes.as_slice().try_into().map_err(|_| {
            StartError::new(Code::InvalidArgument, "KSYNC_RELAY_SECRET has to be 64 hexadecimal digits")
        })?;
        Ok(Self(bytes))
    }

    /// Reads the identity of a data folder, or makes it if the folder has none. The file is durable, and readable by its
    /// owner alone, before this returns.
    pub fn load_or_create(folder: &Path) -> Result<Self, StartError> {
        match Self::load(folder)? {
            Some(identity) => Ok(identity),
            None => Self::create(folder, &folder.join(FILE)),
        }
    }

    /// Reads the identity of a data folder; `None` if the folder has none yet.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, StartError> {
        let path = folder.join(FILE);
        match File::open(&path) {
            Ok(file) => Self::read(&path, file).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StartError::io("open", &path, &e)),
        }
    }

    fn read(path: &Path, file: File) -> Result<Self, StartError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        file.take(64).read_to_end(&mut bytes).map_err(|e| StartError::io("read", path, &e))?;
        let key = bytes.as_slice().try_into().map_err(|_| {
            StartError::new(
                Code::StoreCorrupt,
                format!(
                    "{} is not a key of 32 bytes: put it back from a backup. A new key would cut off every device that \
                     knows this relay; only if none does, delete the file",
                    path.display()
                ),
            )
        })?;
        Ok(Self(key))
    }

    fn create(folder: &Path, path: &Path) -> Result<Self, StartError> {
        let identity = Self::generate()?;
        // Written beside and renamed, so that a crash leaves either no key or a whole one.
        let draft = folder.join("identity.key.new");
        let write = || -> std::io::Result<()> {
            match std::fs::remove_file(&draft) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&draft)?;
            file.write_all(&identity.0)?;
            file.sync_all()?;
            std::fs::rename(&draft, path)?;
            // Folders cannot be opened as files on Windows, where renaming needs no such flush.
            #[cfg(unix)]
            File::open(folder)?.sync_all()?;
            Ok(())
        };
        write().map_err(|e| StartError::io("write", path, &e))?;
        Ok(identity)
    }

    /// What other keys of the relay are derived from.
    #[cfg(feature = "http")]
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn secret_key(&self) -> iroh::SecretKey {
        iroh::SecretKey::from_bytes(&self.0)
    }
}

/// Makes a folder that its owner alone can look into, if it is not there.
#[cfg(feature = "http")]
pub(crate) fn private_folder(path: &Path) -> Result<(), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|e| StartError::io("make the folder", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(folder.path()).unwrap();
        let second = Identity::load_or_create(folder.path()).unwrap();
        assert_eq!(first.0, second.0);
        assert_ne!(first.0, Identity::generate().unwrap().0);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = folder.path().join(FILE).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], &[7; 31], &[7; 33], &[7; 100]] {
            std::fs::write(folder.path().join(FILE), bytes).unwrap();
            let error = Identity::load_or_create(folder.path()).unwrap_err();
            assert_eq!(error.code, Code::StoreCorrupt);
            assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), bytes);
        }
    }

    #[test]
    fn the_environment_form_is_strict_and_debug_shows_nothing() {
        assert!(Identity::from_hex("abc").is_err());
        assert!(Identity::from_hex(&"zz".repeat(32)).is_err());
        let identity = Identity::from_hex(&"AB".repeat(32)).unwrap();
        assert_eq!(identity.0, [0xab; 32]);
        assert_eq!(format!("{identity:?}"), "Identity(…)");
    }
}
