//! Files from a page: its bytes, and paths as far as the window's scope goes.

use ksync_e2e::App;
use serde_json::{Value, json};

use super::world::World;

/// What a call in the present window comes to: what it gives, or its error's code.
async fn call(app: &App, call: &str, args: Vec<Value>) -> Value {
    let body = format!(
        "const {{ files }} = window.__TAURI__.ksync;
         try {{ return await (async () => {{ {call} }})() ?? null; }} catch (error) {{ return error.code || String(error); }}"
    );
    app.run(&body, args).await
}

const PUT: &str = "return (await files.put(args[0])).name;";
const GET: &str = "await files.get(args[0], args[1]);";

#[tokio::test]
async fn bytes_go_in_and_out_and_paths_only_where_the_scope_allows() {
    let world = World::new().await;
    let root = world.folder.path().canonicalize().unwrap();
    let (open, outside) = (root.join("open"), root.join("outside"));
    for folder in [open.join("private"), open.join("deep"), outside.clone()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    for file in [open.join("deep/a.txt"), open.join("private/key"), outside.join("secret")] {
        std::fs::write(file, "from the disk").unwrap();
    }
    std::os::unix::fs::symlink(&outside, open.join("link")).unwrap();
    let app = world.testbed_with_paths("one", "paths,only-file-put", &open).start().await;
    app.window("paths").await;

    let put = "const { id, safeName, size } = await files.put({ name: 'né/1.txt', bytes: new TextEncoder().encode('from a page') });
               const [listed] = await files.list();
               const text = new TextDecoder().decode(await files.read(id));
               window.id = id;
               // Nobody else is in the group.
               await files.waitGiven(id);
               return [safeName, size, listed.id === id, text];";
    assert_eq!(call(&app, put, vec![]).await, json!(["né_1.txt", "11", true, "from a page"]));
    let policy = "return await files.setPolicy({ direct: false });";
    assert_eq!(
        call(&app, policy, vec![]).await,
        json!({"automaticUpTo": 67_108_864, "paused": false, "direct": false})
    );
    // Nothing of it stays in the clear.
    let kept = walk(&root.join("one/cache"));
    assert!(!kept.iter().any(|path| path.to_string_lossy().contains("0ksync-files")), "{kept:?}");

    assert_eq!(call(&app, PUT, vec![json!(open.join("deep/a.txt"))]).await, json!("a.txt"));
    for path in ["private/key", "../outside/secret", "link/secret", "deep/../../outside/secret", "nothing"] {
        let result = call(&app, PUT, vec![json!(open.join(path))]).await;
        assert!(result == "INVALID_ARGUMENT" || (path == "nothing" && result == "IO"), "{path}: {result}");
    }
    assert_eq!(call(&app, PUT, vec![json!("deep/a.txt")]).await, "INVALID_ARGUMENT", "a relative one");

    let id = app.run("return window.id;", vec![]).await;
    assert_eq!(call(&app, GET, vec![id.clone(), json!(open.join("deep/b.txt"))]).await, Value::Null);
    assert_eq!(std::fs::read_to_string(open.join("deep/b.txt")).unwrap(), "from a page");
    for path in ["deep/a.txt", "private/new", "../outside/new", "link/new", "nowhere/new"] {
        let result = call(&app, GET, vec![id.clone(), json!(open.join(path))]).await;
        assert_eq!(result, "INVALID_ARGUMENT", "{path}");
    }
    assert_eq!(std::fs::read_to_string(open.join("deep/a.txt")).unwrap(), "from the disk");
    assert!(!outside.join("new").exists() && !open.join("private/new").exists());

    // Without a scope, nothing; the other window's is its own.
    app.window("only-file-put").await;
    assert_eq!(call(&app, PUT, vec![json!(open.join("deep/a.txt"))]).await, "INVALID_ARGUMENT");
}

/// All files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
