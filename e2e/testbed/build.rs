//! Embeds the page and the plugin's permissions.

fn main() {
    tauri_build::build();
}
