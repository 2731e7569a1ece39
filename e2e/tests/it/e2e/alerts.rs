//! A device that is lost, and what the others' windows say of what happened to devices, also when they were closed.

use ksync_e2e::notes::{Device, click, close_dialog, lists, pair, says, sees, write};
use ksync_e2e::widget::{device_part, list_devices, press_device};
use ksync_e2e::{App, Relay, until};
use serde_json::json;

use super::widget::{ENTER, ESCAPE, TAB, keys, look};

/// Waits until the strip above the notes says this among other things.
async fn banner(app: &App, words: &str) {
    until(&format!("the strip says «{words}»"), async || {
        app.text("[data-testid=banner]").await?.contains(words).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lost_phone_is_removed_wipes_itself_and_everybody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let relay = Relay::start(&path.join("relay")).await;
    let [laptop, phone, tablet] = ["Laptop", "Phone", "Tablet"].map(|name| Device::new(path, name, &relay));
    let (a, b) = (laptop.start().await, phone.start().await);
    pair(&laptop, &a, &b, &path.join("qr.png")).await;
    write(&a, "Shopping").await;
    sees(&b, "Shopping").await;

    // While the phone is off, a tablet comes: the phone's window says so when it is opened again, and again after a restart.
    b.quit().await;
    let c = tablet.start().await;
    pair(&laptop, &a, &c, &path.join("qr2.png")).await;
    sees(&c, "Shopping").await;
    let b = phone.start().await;
    banner(&b, "«Laptop» linked «Tablet».").await;
    look(&b, "linked").await;
    b.quit().await;
    let b = phone.start().await;
    banner(&b, "«Laptop» linked «Tablet».").await;
    click(&b, "dismiss").await;
    b.quit().await;

    // The phone is lost. What follows is said first; then it is removed, and the other window says so.
    click(&a, "devices-button").await;
    press_device(&a, Some("Phone"), "lost").await;
    let asked = device_part(&a, None, "title").await.text().await.unwrap();
    assert_eq!(asked, "Is «Phone» lost or stolen?");
    look(&a, "lost").await;
    press_device(&a, None, "confirm").await;
    press_device(&a, None, "done").await;
    let row = device_part(&a, None, "lost-device").await.text().await.unwrap();
    assert!(row.contains("Phone") && row.contains("deletes what it holds when it next connects"), "{row}");
    close_dialog(&a).await;
    write(&a, "After the loss").await;
    sees(&c, "After the loss").await;
    banner(&c, "«Laptop» removed «Phone» as lost").await;
    says(&a, "Everything is on both devices").await;

    // Whoever finds it sees nothing of that, and what it had is gone.
    let b = phone.start().await;
    banner(&b, "removed as lost").await;
    until("no notes", async || (!lists(&b, "Shopping").await).then_some(())).await;
    assert!(!lists(&b, "After the loss").await);
    look(&b, "wiped").await;
    b.quit().await;
    let b = phone.start().await;
    banner(&b, "This device was removed as lost, and what it held was deleted.").await;
    assert!(!lists(&b, "Shopping").await);
}

#[tokio::test]
async fn the_devices_read_well_in_light_and_dark_and_are_reached_with_the_keyboard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let relay = Relay::start(&path.join("relay")).await;
    let [laptop, phone, tablet] = ["Laptop", "Phone", "Tablet"].map(|name| Device::new(path, name, &relay));
    let (a, b, c) = (laptop.start().await, phone.start().await, tablet.start().await);
    pair(&laptop, &a, &b, &path.join("qr.png")).await;
    pair(&laptop, &a, &c, &path.join("qr2.png")).await;
    for (theme, width) in [("light", 360), ("light", 1000), ("dark", 360), ("dark", 1000)] {
        list_devices(&b, theme, width).await;
        device_part(&b, None, "alert").await;
        look(&b, &format!("devices {theme} {width}")).await;
        press_device(&b, Some("Tablet"), "lost").await;
        look(&b, &format!("lost {theme} {width}")).await;
        let fits = "const box = document.querySelector('ksync-devices').getBoundingClientRect();
                    return [box.left >= 0, box.right <= args[0], document.documentElement.scrollWidth <= window.innerWidth];";
        assert_eq!(b.run(fits, vec![json!(width)]).await, json!([true, true, true]), "{theme} {width}");
    }
    // From the alert to the end with the keyboard alone.
    list_devices(&b, "light", 1000).await;
    go_to(&b, "dismiss").await;
    keys(&b, ENTER).await;
    until("no alert", async || {
        let alerts =
            "return document.querySelector('ksync-devices').shadowRoot.querySelectorAll('[data-testid=alert]').length;";
        (b.run(alerts, vec![]).await == 0).then_some(())
    })
    .await;
    go_to(&b, "lost").await;
    keys(&b, ENTER).await;
    device_part(&b, None, "confirm").await;
    keys(&b, ESCAPE).await;
    device_part(&b, Some("Laptop"), "lost").await;
    go_to(&b, "lost").await;
    keys(&b, ENTER).await;
    go_to(&b, "confirm").await;
    keys(&b, ENTER).await;
    go_to(&b, "done").await;
    keys(&b, ENTER).await;
    device_part(&b, None, "lost-device").await;
}

/// Presses Tab until the keyboard is there, and sees that it shows.
async fn go_to(app: &App, id: &str) {
    let at = "const at = document.activeElement?.shadowRoot?.activeElement;
              return at ? [at.dataset.testid ?? null, getComputedStyle(at).outlineStyle] : [null, null];";
    device_part(app, None, id).await;
    for _ in 0..12 {
        let now = app.run(at, vec![]).await;
        if now[0] == id {
            assert_ne!(now[1], json!("none"), "{id} does not show that it has the keyboard");
            return;
        }
        keys(app, TAB).await;
    }
    panic!("the keyboard does not come to {id}");
}
