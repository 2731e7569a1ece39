use sync_core::vault::Kdf;

use super::*;

const NEW: &str = "a new passphrase";

fn config(home: &Home) -> SyncConfig {
    // Whoever runs the tests keeps their keychain to themselves.
    SyncConfig::at(home.path()).vault(VaultKind::KeyFile).passphrase_memory_mib(0)
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::take(&folder.path().join("home")).unwrap();
    (folder, home)
}

async fn key(home: &Home, config: &SyncConfig) -> Result<[u8; 32], Code> {
    Vault::open(home, config, None).await.map(|vault| *vault.key.as_bytes()).map_err(|e| e.code)
}

#[tokio::test]
async fn the_key_stays_whatever_locks_it() {
    let (_folder, home) = home();
    let vault = Vault::open(&home, &config(&home), None).await.unwrap();
    assert_eq!(vault.kind().await, VaultKind::KeyFile);
    let first = *vault.key.as_bytes();
    assert_eq!(key(&home, &config(&home)).await, Ok(first));
    for text in ["first passphrase", NEW] {
        vault.move_to(home.path(), VaultKind::Passphrase, Some(&passphrase(text))).await.unwrap();
        assert_eq!(vault.kind().await, VaultKind::Passphrase);
    }
    assert_eq!(key(&home, &config(&home)).await, Err(Code::PassphraseNeeded));
    assert_eq!(key(&home, &config(&home).passphrase(passphrase("first passphrase"))).await, Err(Code::WrongPassphrase));
    assert_eq!(key(&home, &config(&home).passphrase(passphrase(NEW))).await, Ok(first));
    let moved = vault.move_to(home.path(), VaultKind::Passphrase, Some(&passphrase("short"))).await;
    assert_eq!(moved.unwrap_err().code, Code::InvalidArgument);
    let moved = vault.move_to(home.path(), VaultKind::Passphrase, None).await;
    assert_eq!(moved.unwrap_err().code, Code::PassphraseNeeded);
    assert_eq!(key(&home, &config(&home).passphrase(passphrase(NEW))).await, Ok(first), "it is as it was");
    vault.move_to(home.path(), VaultKind::KeyFile, None).await.unwrap();
    assert_eq!(key(&home, &config(&home)).await, Ok(first));
}

#[tokio::test]
async fn each_way_to_stay_shut_has_its_error_and_changes_nothing() {
    let (_folder, home) = home();
    let with = config(&home).vault(VaultKind::Passphrase).passphrase(passphrase(NEW));
    Vault::open(&home, &with, None).await.unwrap();
    let good = std::fs::read(home.file(VAULT)).unwrap();
    let locked = |kdf: Kdf, key: u8| {
        let (lock, phrase) = (Lock::Passphrase(kdf), passphrase(NEW));
        LockedKey::lock(Kind::Vault, [1; 16], lock, Unlock::Passphrase(&phrase), [2; 24], &VaultKey::new([key; 32]))
    };
    // Well made, and so that a guess costs nothing: no build does that.
    let weak = Kdf { memory_kib: 12 * 1024, passes: 1, salt: [3; 16] };
    assert_eq!(locked(weak, 1).unwrap_err().code(), Code::VaultParameters);
    let mut dear = good.clone();
    dear[26..30].copy_from_slice(&(4_u32 << 20).to_be_bytes());
    let mut newer = good.clone();
    newer[8] = 2;
    let mut changed = good.clone();
    changed[40] ^= 1;
    for (bytes, code) in [
        (&good[..50], Code::VaultDamaged),
        (b"", Code::VaultDamaged),
        (&changed, Code::VaultDamaged),
        (&newer, Code::VaultNewer),
        (&dear, Code::VaultDamaged),
    ] {
        std::fs::write(home.file(VAULT), bytes).unwrap();
        assert_eq!(key(&home, &with).await, Err(code));
        assert_eq!(std::fs::read(home.file(VAULT)).unwrap(), bytes);
    }
    std::fs::write(home.file(VAULT), &good).unwrap();
    // Another home's vault, and none where the database has one.
    let other = Vault::open(&home, &with, Some([7; 16])).await.map(drop).unwrap_err();
    assert_eq!((other.code, other.message.as_str()), (Code::VaultDamaged, "the vault file is of another home"));
    std::fs::remove_file(home.file(VAULT)).unwrap();
    assert_eq!(Vault::open(&home, &with, Some([7; 16])).await.map(drop).unwrap_err().code, Code::VaultDamaged);
    assert!(!home.file(VAULT).exists());
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, home) = home();
    Vault::open(&home, &config(&home), None).await.unwrap();
    assert_eq!(home.file(VAULT).metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn kinds_are_called_what_they_are_read_as() {
    for kind in [VaultKind::Keychain, VaultKind::Passphrase, VaultKind::KeyFile] {
        assert_eq!(kind.as_str().parse::<VaultKind>().unwrap(), kind);
    }
    assert_eq!("vault".parse::<VaultKind>().unwrap_err().code, Code::InvalidArgument);
}
