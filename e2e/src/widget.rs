//! `<ksync-pair>`, `<ksync-devices>` and `<ksync-kit>` as a person uses them, and what a page can be told of their accessibility.

use fantoccini::elements::Element;
use serde_json::{Value, json};

use crate::app::test;
use crate::{App, until};

/// Fills the page with `<ksync-devices>` alone, as wide as this and in light or dark.
///
/// # Panics
/// If the page does not have it.
pub async fn list_devices(app: &App, theme: &str, width: u32) {
    show(app, "ksync-devices", "Devices", theme, width).await;
    part_of(app, "ksync-devices", &test("device")).await;
}

/// Fills the page with `<ksync-kit>` alone, as wide as this and in light or dark.
///
/// # Panics
/// If the page does not have it.
pub async fn show_kit(app: &App, theme: &str, width: u32) {
    show(app, "ksync-kit", "Recovery kit", theme, width).await;
    kit_part(app, "choose-make").await;
}

/// The driver's session begins before the app's page does.
async fn defined(app: &App, element: &str) {
    let script = "return customElements.get(arguments[0]) !== undefined;";
    until("the element", async || {
        (app.client().execute(script, vec![json!(element)]).await.ok()? == true).then_some(())
    })
    .await;
}

async fn show(app: &App, element: &str, title: &str, theme: &str, width: u32) {
    defined(app, element).await;
    let script = "const [name, text, theme, width] = args;
                  const element = document.createElement(name);
                  element.setAttribute('theme', theme);
                  const [main, title] = ['main', 'h1'].map((tag) => document.createElement(tag));
                  title.textContent = text;
                  main.append(title, element);
                  document.body.replaceChildren(main);
                  document.body.style.overflow = 'auto';
                  document.body.style.maxWidth = `${width}px`;
                  document.documentElement.style.background = theme === 'dark' ? '#0e1014' : '#f6f7f9';
                  document.documentElement.style.color = theme === 'dark' ? '#eef1f6' : '#161a22';";
    app.run(script, vec![json!(element), json!(title), json!(theme), json!(width)]).await;
}

/// Fills the page with the element alone, in one of its modes or with its first question.
///
/// # Panics
/// If the page does not have it.
pub async fn begin(app: &App, mode: Option<&str>) {
    defined(app, "ksync-pair").await;
    let script = "const element = document.createElement('ksync-pair');
                  if (args[0]) element.setAttribute('mode', args[0]);
                  const [main, title] = ['main', 'h1'].map((tag) => document.createElement(tag));
                  title.textContent = 'Your devices';
                  main.append(title, element);
                  document.body.replaceChildren(main);
                  document.body.style.overflow = 'auto';
                  element.focus();";
    app.run(script, vec![json!(mode)]).await;
}

/// A part of it.
///
/// # Panics
/// If it does not come in time.
pub async fn part(app: &App, id: &str) -> Element {
    part_of(app, "ksync-pair", &test(id)).await
}

/// A part of `<ksync-kit>`.
///
/// # Panics
/// If it does not come in time.
pub async fn kit_part(app: &App, id: &str) -> Element {
    part_of(app, "ksync-kit", &test(id)).await
}

/// Presses a button of `<ksync-kit>`.
///
/// # Panics
/// If that cannot be done in time.
pub async fn press_kit(app: &App, id: &str) {
    until(&format!("a press on {id}"), async || kit_part(app, id).await.click().await.ok()).await;
}

/// The words that `<ksync-kit>` shows.
///
/// # Panics
/// If it shows none in time.
pub async fn kit_words(app: &App) -> Vec<String> {
    kit_part(app, "kit-words").await;
    let script = "const kit = document.querySelector('ksync-kit').shadowRoot;
                  return [...kit.querySelectorAll('[data-testid=kit-words] b')].map((word) => word.textContent);";
    let Value::Array(words) = app.run(script, vec![]).await else { panic!("a list was to come") };
    words.iter().map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
}

/// A part of `<ksync-devices>`: one of the row of the device of this name, or any.
///
/// # Panics
/// If it does not come in time.
pub async fn device_part(app: &App, name: Option<&str>, id: &str) -> Element {
    let Some(name) = name else { return part_of(app, "ksync-devices", &test(id)).await };
    let script = "const rows = document.querySelector('ksync-devices')?.shadowRoot.querySelectorAll('[data-testid=device]') ?? [];
                  return [...rows].find((row) => row.querySelector('b').textContent === arguments[0])
                    ?.querySelector(arguments[1]) ?? null;";
    let arguments = vec![json!(name), json!(test(id))];
    until(&format!("{id} of {name}"), async || found(app, script, arguments.clone()).await).await
}

/// Presses a button of `<ksync-devices>`.
///
/// # Panics
/// If that cannot be done in time.
pub async fn press_device(app: &App, name: Option<&str>, id: &str) {
    until(&format!("a press on {id}"), async || device_part(app, name, id).await.click().await.ok()).await;
}

async fn found(app: &App, script: &str, arguments: Vec<Value>) -> Option<Element> {
    let found = app.client().execute(script, arguments).await.ok()?;
    let id = found.as_object()?.values().next()?.as_str()?.to_owned();
    Some(Element::from_element_id(app.client().clone(), id.into()))
}

async fn part_of(app: &App, element: &str, css: &str) -> Element {
    let script = "return document.querySelector(arguments[0])?.shadowRoot.querySelector(arguments[1]) ?? null;";
    let arguments = vec![json!(element), json!(css)];
    until(&format!("{css} in {element}"), async || found(app, script, arguments.clone()).await).await
}

/// Presses a button of it.
///
/// # Panics
/// If that cannot be done in time.
pub async fn press(app: &App, id: &str) {
    until(&format!("a press on {id}"), async || part(app, id).await.click().await.ok()).await;
}

/// What it asks to be typed.
///
/// # Panics
/// If it does not ask for it in time.
pub async fn enter(app: &App, id: &str, text: &str) {
    until(&format!("typing into {id}"), async || {
        let field = part(app, id).await;
        field.clear().await.ok()?;
        field.send_keys(text).await.ok()
    })
    .await;
}

/// The link that it shows.
///
/// # Panics
/// If it shows none in time.
pub async fn link(app: &App) -> String {
    let shown = part(app, "link").await.prop("value").await.expect("the driver does it");
    shown.expect("the link's field has a value")
}

/// Takes the other device's link.
///
/// # Panics
/// If it does not ask for one in time.
pub async fn connect(app: &App, link: &str) {
    enter(app, "paste", link).await;
    press(app, "connect").await;
}

/// The digits that it shows.
///
/// # Panics
/// If it shows none in time.
pub async fn digits(app: &App) -> String {
    let shown = part(app, "digits").await;
    until("four digits", async || {
        let shown: String = shown.text().await.ok()?.chars().filter(char::is_ascii_digit).collect();
        (shown.len() == 4).then_some(shown)
    })
    .await
}

/// Types the digits of a newcomer, and says yes.
///
/// # Panics
/// If it does not ask for them in time.
pub async fn accept(app: &App, digits: &str) {
    enter(app, "digit-input", digits).await;
    press(app, "add").await;
}

/// The code of the error that it shows.
///
/// # Panics
/// If it shows none in time.
pub async fn error(app: &App) -> String {
    let next = part(app, "error-next").await;
    next.attr("data-code").await.expect("the driver does it").expect("an error has a code")
}

/// What axe, which is given as a program's text, finds wrong with the page: one line for each.
///
/// # Panics
/// If it cannot be run.
pub async fn accessibility(app: &App, axe: &str) -> Vec<String> {
    let there = app.client().execute("return typeof window.axe;", vec![]).await.expect("the driver does it");
    if there != "object" {
        // In the page's own world, and past its security policy, as the driver's scripts are.
        app.client().execute(&format!("{axe}; window.axe = axe;"), vec![]).await.expect("axe can be loaded");
    }
    // axe takes its time, and judges elements as they were when it began: a page that changed meanwhile is looked at again.
    let script = "const roots = (root) => [root, ...[...root.querySelectorAll('*')].flatMap((e) => (e.shadowRoot ? roots(e.shadowRoot) : []))];
                  for (let looks = 1; ; looks++) {
                    let changed = false;
                    const observer = new MutationObserver(() => { changed = true; });
                    for (const root of roots(document)) {
                      observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
                    }
                    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
                    observer.disconnect();
                    if (violations.length === 0 || !changed || looks === 10) {
                      return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(' ')}`);
                    }
                  }";
    let found = app.run(script, vec![]).await;
    let Value::Array(found) = found else { panic!("axe gave {found}") };
    found.iter().map(|line| line.as_str().unwrap_or_default().to_owned()).collect()
}
