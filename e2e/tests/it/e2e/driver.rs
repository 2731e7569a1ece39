//! What is said when an app cannot even be steered.

use std::os::unix::fs::PermissionsExt;

use super::world::World;

#[tokio::test]
#[should_panic(expected = "WebKitWebDriver ended with exit status: 3 as it started: out of order")]
async fn a_driver_that_ends_at_once_is_named_at_once() {
    let world = World::new().await;
    let programs = world.folder.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    let driver = programs.join("WebKitWebDriver");
    std::fs::write(&driver, "#!/bin/sh\necho out of order >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&driver, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.testbed_in("Laptop", programs.to_str().unwrap()).start_alone().await;
}
