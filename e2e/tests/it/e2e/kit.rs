//! A recovery kit in windows: made and checked, and the way back when the device is lost.

use ksync_e2e::notes::{Device, click, close_dialog, sees, write};
use ksync_e2e::widget::{kit_part, kit_words, press_kit, show_kit};
use ksync_e2e::{App, Relay, until};
use serde_json::json;

use super::widget::{ENTER, ESCAPE, TAB, go_to, keys, look};

/// The words that the screen asks for, by their places from 0.
async fn asked(app: &App) -> Vec<usize> {
    kit_part(app, "asked").await;
    let script = "const kit = document.querySelector('ksync-kit').shadowRoot;
                  return [...kit.querySelectorAll('[data-testid=asked]')].map((field) => Number(field.id.split('-')[1]) - 1);";
    serde_json::from_value(app.run(script, vec![]).await).unwrap()
}

async fn says(app: &App, id: &str, words: &str) {
    until(&format!("{id} says «{words}»"), async || {
        kit_part(app, id).await.text().await.ok()?.contains(words).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_kit_made_by_the_keyboard_brings_another_device_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let relay = Relay::start(&path.join("relay")).await;
    let (laptop, phone) = (Device::new(path, "Laptop", &relay), Device::new(path, "Phone", &relay));
    let a = laptop.start().await;
    let listen = "const id = window.__TAURI_INTERNALS__.transformCallback(({ message }) => {
                    if (message?.type === 'kitSnapshot') window.left = message;
                  });
                  await window.__TAURI_INTERNALS__.invoke('plugin:0ksync|listen', { events: `__CHANNEL__:${id}` });";
    a.run(listen, vec![]).await;
    write(&a, "Kept by the kit").await;
    click(&a, "devices-button").await;
    click(&a, "recovery-kit").await;
    kit_part(&a, "choose-make").await;
    go_to(&a, "choose-make").await;
    keys(&a, ENTER).await;
    kit_part(&a, "make").await;
    // Escape leads back, but not from the words, which are shown this once.
    keys(&a, ESCAPE).await;
    kit_part(&a, "choose-make").await;
    go_to(&a, "choose-make").await;
    keys(&a, ENTER).await;
    kit_part(&a, "make").await;
    go_to(&a, "make").await;
    keys(&a, ENTER).await;
    let words = kit_words(&a).await;
    assert_eq!(words.len(), 24);
    keys(&a, ESCAPE).await;
    assert_eq!(kit_words(&a).await, words);
    look(&a, "kit words").await;

    // Who has not written them down does not get past.
    go_to(&a, "written").await;
    keys(&a, ENTER).await;
    let places = asked(&a).await;
    assert_eq!(places.len(), 3);
    keys(&a, "nonsense").await;
    keys(&a, ENTER).await;
    says(&a, "problem", &format!("Word {} is another one", places[0] + 1)).await;
    look(&a, "kit check").await;
    // What was wrong is selected, so that typing takes its place.
    for (n, place) in places.iter().enumerate() {
        keys(&a, &words[*place]).await;
        keys(&a, if n < 2 { TAB } else { ENTER }).await;
    }
    says(&a, "title", "Your recovery kit is ready").await;
    look(&a, "kit made").await;
    go_to(&a, "done").await;
    keys(&a, ENTER).await;
    close_dialog(&a).await;
    let kept = a.run("return document.body.outerHTML;", vec![]).await;
    let in_a_row = |text: &str| words.windows(3).any(|three| text.contains(&three.join(" ")));
    assert!(!in_a_row(kept.as_str().unwrap()), "the words are nowhere in the page");
    let status = "return await window.__TAURI_INTERNALS__.invoke('plugin:0ksync|status');";
    let before = a.run(status, vec![]).await;
    assert_eq!(before["recoveryKit"], json!(true));
    assert!(!in_a_row(&a.log()), "nor in its log");
    // The app puts its notes with the kit some time after they have changed.
    let left = until("the notes to be with the kit", async || {
        let left = a.run("return window.left ?? null;", vec![]).await;
        left.is_object().then_some(left)
    })
    .await;
    assert_eq!((&left["channel"], &left["refused"]), (&json!("notes"), &json!(null)));
    a.quit().await;

    // The laptop is lost. Another device has nothing but the words.
    let b = phone.start().await;
    click(&b, "devices-button").await;
    click(&b, "recovery-kit").await;
    kit_part(&b, "choose-recover").await;
    go_to(&b, "choose-recover").await;
    keys(&b, ENTER).await;
    kit_part(&b, "recover").await;
    // A slip is told where it is made. Four letters are enough.
    keys(&b, "nonsense ").await;
    says(&b, "problem", "Word 1 is not a word").await;
    look(&b, "kit slip").await;
    let delete = "\u{e003}".repeat("nonsense ".len());
    keys(&b, &delete).await;
    for word in &words {
        keys(&b, &format!("{} ", word.chars().take(4).collect::<String>())).await;
    }
    keys(&b, ENTER).await;
    says(&b, "title", "You are back").await;
    says(&b, "restored", "notes was kept").await;
    look(&b, "kit back").await;
    let after = b.run(status, vec![]).await;
    assert_eq!((&after["group"], &after["recoveryKit"]), (&before["group"], &json!(true)));
    assert_eq!(after["devices"].as_array().unwrap().len(), 1);
    assert_eq!(after["devices"][0]["name"], json!("Phone"));
    go_to(&b, "done").await;
    keys(&b, ENTER).await;
    close_dialog(&b).await;
    sees(&b, "Kept by the kit").await;

    // Whoever has the laptop is out, and is told.
    let a = laptop.start().await;
    until("the word that it was removed", async || {
        a.text("[data-testid=banner]").await?.contains("removed").then_some(())
    })
    .await;
}

/// Every screen on every kind of window, and what goes wrong.
#[tokio::test]
async fn each_screen_of_a_kit_reads_well_in_light_and_dark_and_in_narrow_and_wide_windows() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(&folder.path().join("relay")).await;
    let device = Device::new(folder.path(), "Laptop", &relay);
    let app = device.start().await;
    for (theme, width) in [("light", 320), ("light", 1000), ("dark", 320), ("dark", 1000)] {
        let fits = async |name: &str| {
            look(&app, &format!("kit {name} {theme} {width}")).await;
            let wide = "const box = document.querySelector('ksync-kit').getBoundingClientRect();
                        return [box.left >= 0, box.right <= args[0], document.documentElement.scrollWidth <= window.innerWidth];";
            let seen = app.run(wide, vec![json!(width)]).await;
            assert_eq!(seen, json!([true, true, true]), "{name} {theme} {width}");
        };
        show_kit(&app, theme, width).await;
        fits("start").await;
        press_kit(&app, "choose-recover").await;
        press_kit(&app, "recover").await;
        says(&app, "problem", "Word 1 is missing").await;
        fits("recover").await;
        press_kit(&app, "start-fresh").await;
        kit_part(&app, "confirm-fresh").await;
        fits("fresh").await;
        press_kit(&app, "cancel").await;
        press_kit(&app, "choose-recover").await;
        // Words of a kit that no group has.
        kit_part(&app, "recover").await;
        for word in [["abandon"; 23].as_slice(), &["art"]].concat() {
            keys(&app, &format!("{word} ")).await;
        }
        keys(&app, ENTER).await;
        kit_part(&app, "error-next").await;
        let code = kit_part(&app, "error-next").await.attr("data-code").await.unwrap();
        assert_eq!(code.as_deref(), Some("KIT_UNKNOWN"));
        fits("error").await;
        show_kit(&app, theme, width).await;
        press_kit(&app, "choose-make").await;
        kit_part(&app, "make").await;
        fits("make").await;
        press_kit(&app, "make").await;
        assert_eq!(kit_words(&app).await.len(), 24);
        fits("words").await;
        press_kit(&app, "written").await;
        asked(&app).await;
        fits("check").await;
    }
}
