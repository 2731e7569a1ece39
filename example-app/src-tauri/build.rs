//! Embeds the page and the permissions.

use std::path::Path;

fn main() {
    // Embedding wants the folder to be there, and checking the code should want no npm.
    let page = Path::new("../dist");
    std::fs::create_dir_all(page).expect("the folder of the page can be made");
    println!("cargo::rerun-if-changed={}", page.display());
    if !page.join("index.html").exists() {
        println!("cargo::warning=0k Notes has no page yet: run `npm run build` in the root and in example-app first");
    }
    tauri_build::build();
}
