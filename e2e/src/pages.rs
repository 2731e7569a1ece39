//! What tests do in a page, without a widget or an app around it. The page holds the package's `sync` in `window.sync`, or what
//! `withGlobalTauri` gives it.

use crate::App;

/// Pairs two apps in their pages: the first one shows, the second one takes the link.
///
/// # Panics
/// If they do not get paired.
pub async fn pair(member: &App, newcomer: &App) {
    let show = "const sync = window.sync ?? window.__TAURI__.ksync;
                window.invite = await sync.invite();
                window.asked = new Promise((resolve) => window.invite.onRequest(resolve));
                return window.invite.uri;";
    let uri = member.run(show, vec![]).await;
    let join = "const sync = window.sync ?? window.__TAURI__.ksync;
                return await new Promise((resolve, reject) => {
                  window.joined = sync.join(args[0], { onCheck: resolve });
                  window.joined.catch(reject);
                });";
    let digits = newcomer.run(join, vec![uri]).await;
    let accept = "const request = await window.asked; await request.accept(args[0]); await window.invite.done;";
    member.run(accept, vec![digits]).await;
    newcomer.run("await window.joined;", vec![]).await;
}

/// Collects what a page is handed in `window.got`. Its argument: the options of `subscribe`.
pub const COLLECT: &str = "const sync = window.sync ?? window.__TAURI__.ksync;
    window.got = [];
    window.stop = await sync.subscribe('notes', async (blob) => { window.got.push(blob.text()); }, args[0] || {});";
