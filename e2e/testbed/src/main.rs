//! A Tauri app whose windows have one set of permissions each.
//!
//! `TESTBED_WINDOWS` names its windows, separated by commas: `default`, `data`, `admin` and `none` for the sets of that name, with
//! a digit behind it for a second one, `paths` for files below the folder `TESTBED_SCOPE` but those of its folder `private`, or `only-COMMAND` for one command alone. All but the first one open at the event
//! `open-windows`: WebKit's driver now and then loses an app whose windows open while it makes its session. `KSYNC_RELAY` is the
//! app's relay. With `TESTBED_CONSENT`, pairings want a native dialog, which is asked again after a yes that comes within the
//! milliseconds that this says, and not again on the day of a no.

use std::time::Duration;

use tauri::{AppHandle, Listener, Manager, WebviewUrl, WebviewWindowBuilder};

fn main() {
    let labels = std::env::var("TESTBED_WINDOWS").unwrap_or_else(|_| "default".to_owned());
    let mut plugin = tauri_plugin_0ksync::Builder::new();
    if let Ok(relay) = std::env::var("KSYNC_RELAY") {
        plugin = plugin.relay(relay);
    }
    if let Ok(name) = std::env::var("KSYNC_NAME") {
        plugin = plugin.device_name(name);
    }
    if let Ok(to_read) = std::env::var("TESTBED_CONSENT") {
        let to_read = to_read.parse().unwrap_or_else(|_| panic!("TESTBED_CONSENT is no number: {to_read}"));
        plugin = plugin.native_consent_in_tests(Duration::from_millis(to_read), Duration::from_hours(24));
    }
    let app = tauri::Builder::default().plugin(plugin.build()).setup(move |app| {
        let mut labels = labels.split(',').map(str::to_owned).collect::<Vec<_>>().into_iter();
        open(app.handle(), &labels.next().unwrap_or_default())?;
        let handle = app.handle().clone();
        app.once_any("open-windows", move |_| {
            for label in labels {
                open(&handle, &label).unwrap_or_else(|error| panic!("the window {label} does not open: {error}"));
            }
        });
        Ok(())
    });
    if let Err(error) = app.run(tauri::generate_context!()) {
        panic!("the testbed does not run: {error}");
    }
}

fn open(app: &AppHandle, label: &str) -> tauri::Result<()> {
    app.add_capability(capability(label))?;
    WebviewWindowBuilder::new(app, label, WebviewUrl::default()).title(label).inner_size(480.0, 320.0).build()?;
    Ok(())
}

/// What the window of this label may do, as a capability file would say it.
fn capability(label: &str) -> String {
    let own = match label.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "default" => "\"0ksync:default\"".to_owned(),
        "data" => "\"0ksync:data\"".to_owned(),
        "admin" => "\"0ksync:default\", \"0ksync:admin\"".to_owned(),
        "paths" => {
            let folder = std::env::var("TESTBED_SCOPE").unwrap_or_default();
            format!(
                r#""0ksync:default", {{"identifier": "0ksync:files-paths",
                    "allow": [{{"path": "{folder}/**"}}], "deny": ["{folder}/private/**"]}}"#
            )
        }
        "none" => String::new(),
        only => format!("\"0ksync:allow-{}\"", only.trim_start_matches("only-")),
    };
    let comma = if own.is_empty() { "" } else { ", " };
    format!(
        r#"{{"identifier": "of-{label}", "windows": ["{label}"],
            "permissions": ["core:default", "core:window:allow-close"{comma}{own}]}}"#
    )
}
