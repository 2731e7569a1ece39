//! The example app as people use it: windows, a QR on the screen, text that is typed.

use ksync_e2e::notes::{Device, click, close_dialog, lists, pair, pick, says, sees, write};
use ksync_e2e::widget::press_device;
use ksync_e2e::{Relay, until};

#[tokio::test]
async fn two_windows_pair_by_the_qr_on_the_screen_and_share_notes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let relay = Relay::start(&path.join("relay")).await;
    let [laptop, phone, tablet] = ["Laptop", "Phone", "Tablet"].map(|name| Device::new(path, name, &relay));
    let (a, b) = (laptop.start().await, phone.start().await);
    pair(&laptop, &a, &b, &path.join("qr.png")).await;

    write(&a, "Shopping\nmilk").await;
    sees(&b, "Shopping").await;
    write(&b, "Holidays\nsea").await;
    sees(&a, "Holidays").await;
    says(&a, "Everything is on both devices").await;

    // One is away, and catches up.
    b.quit().await;
    write(&a, "While you were away").await;
    let b = phone.start().await;
    sees(&b, "While you were away").await;
    sees(&b, "Shopping").await;

    // A third one comes to notes that are there.
    let c = tablet.start().await;
    pair(&laptop, &a, &c, &path.join("qr3.png")).await;
    sees(&c, "Shopping").await;
    sees(&c, "While you were away").await;
    says(&a, "Everything is on all 3 devices").await;

    // And is removed: it can neither read nor write.
    click(&a, "devices-button").await;
    press_device(&a, Some("Tablet"), "remove").await;
    press_device(&a, None, "confirm").await;
    press_device(&a, None, "done").await;
    c.find("[data-testid=banner]").await;
    close_dialog(&a).await;
    write(&a, "Without the tablet").await;
    sees(&b, "Without the tablet").await;
    // Nor does it help to go round the app's own words.
    let pushed = c
        .script("await window.__TAURI_INTERNALS__.invoke('plugin:0ksync|push', [120], { headers: { 'ksync-channel': 'notes' } });", vec![])
        .await;
    assert_eq!(pushed.unwrap_err()["code"], "REMOVED");
    assert!(!lists(&c, "Without the tablet").await);
}

/// A picture of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[tokio::test]
async fn a_picture_that_is_added_in_one_window_is_shown_saved_and_removed_in_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let relay = Relay::start(&path.join("relay")).await;
    let [laptop, phone] = ["Laptop", "Phone"].map(|name| Device::new(path, name, &relay));
    // Where the phone's person has downloads.
    let (downloads, config) = (path.join("downloads"), path.join("Phone/config"));
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("user-dirs.dirs"), format!("XDG_DOWNLOAD_DIR=\"{}\"\n", downloads.display())).unwrap();
    let (a, b) = (laptop.start().await, phone.start().await);
    pair(&laptop, &a, &b, &path.join("qr.png")).await;

    for app in [&a, &b] {
        click(app, "files-button").await;
    }
    pick(&a, "pixel.png", PIXEL).await;
    // It is read through the plugin, and the page's policy lets it be shown.
    let width =
        "const image = document.querySelector('[data-testid=file] img'); return image ? image.naturalWidth : 0;";
    until("the picture", async || (b.run(width, vec![]).await == 1).then_some(())).await;
    assert!(b.text("[data-testid=file]").await.unwrap().contains("from «Laptop»"));

    for name in ["pixel.png", "pixel 2.png"] {
        click(&b, "save-file").await;
        let saved = downloads.join(name);
        let told = format!("«pixel.png» is in {}", saved.display());
        until("word that it is saved", async || (b.text("[data-testid=files-told]").await? == told).then_some(()))
            .await;
        assert!(std::fs::read(saved).unwrap().starts_with(b"\x89PNG"));
    }

    click(&b, "remove-file").await;
    click(&b, "confirm-remove-file").await;
    let left = "return document.querySelectorAll('[data-testid=file]').length;";
    until("an empty list", async || (a.run(left, vec![]).await == 0).then_some(())).await;
}
