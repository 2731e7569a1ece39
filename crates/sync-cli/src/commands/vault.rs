//! `vault`: where the key lies that seals this home, and putting it elsewhere.

use sync_client::VaultKind;

use super::Context;
use crate::cli::{Vault, VaultAction};
use crate::event::Event;
use crate::out::Done;
use crate::passphrase::Wanted;
use crate::words;

pub(super) async fn vault(context: &Context, arguments: Vault) -> Done {
    let (kind, new_file) = match arguments.action {
        None | Some(VaultAction::Show) => {
            return context.with(async |client| tell(context, client.vault().await)).await;
        }
        Some(VaultAction::Set { kind, new_passphrase_file }) => (VaultKind::from(kind), new_passphrase_file),
    };
    context
        .with(async |client| {
            let passphrase = match kind {
                VaultKind::Passphrase => {
                    let wanted = Wanted {
                        file: new_file.as_deref(),
                        variable: "KSYNC_NEW_PASSPHRASE",
                        question: "New passphrase",
                    };
                    Some(wanted.or_asked(true).await?)
                }
                _ => None,
            };
            client.set_vault(kind, passphrase.as_ref()).await?;
            tell(context, kind)
        })
        .await
}

fn tell(context: &Context, kind: VaultKind) -> Done {
    let words = format!("This device's key lies {}.", words::vault(kind));
    context.out.tell(&Event::Vault { kind: kind.as_str() }, words)
}
