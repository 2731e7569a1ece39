//! `backup`: one file with what this device has, and taking such a file in.

use std::path::Path;

use sync_client::{Code, SyncClient};

use super::Context;
use crate::cli::{Backup, BackupAction, Import};
use crate::event::Event;
use crate::out::{Done, Failure, Out};
use crate::passphrase::Wanted;
use crate::words::count;

pub(super) async fn backup(context: &Context, arguments: Backup) -> Done {
    match arguments.action {
        BackupAction::Export { file, backup_passphrase_file } => {
            context
                .with(async |client| {
                    let passphrase = wanted(backup_passphrase_file.as_deref()).or_asked(true).await?;
                    let work = client.export_backup(&file, &passphrase, progress(context.out, "Written"));
                    let receipt = or_stopped(context, work).await?;
                    let words = format!("{} are in {}.", count(receipt.blobs, "blob"), file.display());
                    context.out.tell(&Event::Exported { blobs: receipt.blobs, bytes: receipt.bytes }, words)
                })
                .await
        }
        BackupAction::Import(arguments) => import(context, arguments).await,
    }
}

async fn import(context: &Context, arguments: Import) -> Done {
    let mut config = context.config_with(&arguments.setup).await?;
    let fresh = !SyncClient::is_initialized(&config.home_path()?);
    if fresh {
        config.device_name.clone_from(&arguments.name);
    }
    let passphrase = wanted(arguments.backup_passphrase_file.as_deref()).or_asked(false).await?;
    let done = async {
        let client = context.client(&mut config).await?;
        let work = client.import_backup(&arguments.file, &passphrase, progress(context.out, "Read"));
        let done = or_stopped(context, work).await;
        client.close().await;
        done
    };
    match done.await {
        Ok(receipt) => {
            let words = format!("{} of {} were not here, and are now.", count(receipt.added, "blob"), receipt.blobs);
            context.out.tell(&Event::Imported { blobs: receipt.blobs, added: receipt.added }, words)
        }
        Err(failure) => {
            if fresh && failure.code() != Some(Code::HomeBusy) {
                // The first failure is the one to tell.
                let _ = SyncClient::reset(&config).await;
            }
            Err(failure)
        }
    }
}

fn wanted(file: Option<&Path>) -> Wanted<'_> {
    Wanted { file, variable: "KSYNC_BACKUP_PASSPHRASE", question: "The backup's passphrase" }
}

/// Shows how far it is, in hundredths.
fn progress(out: Out, what: &'static str) -> impl FnMut(u64, u64) + Send {
    move |done, total| out.progress(format_args!("{what}: {} %", done.saturating_mul(100) / total.max(1)))
}

/// Goes on until it is done, or somebody ends it: then nothing has changed.
async fn or_stopped<T>(context: &Context, work: impl Future<Output = Result<T, sync_client::SyncError>>) -> Done<T> {
    let done = tokio::select! {
        done = work => done.map_err(Failure::from),
        () = context.stop.wait() => Err(Failure::new(Code::BackupCancelled, "it was ended before it was through")),
    };
    context.out.progress_over();
    done
}
