//! Pairing from the QR code, as a camera sees it on a terminal.

use std::path::Path;

use crate::harness::{Device, Relay};
use crate::screen::{DARK, LIGHT, SMALL, Screen, Terminal};

#[test]
fn the_qr_code_on_the_screen_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let relay = Relay::start(folder.path().join("relay"));
    let screen = Screen::start();
    let member = Device::init(folder.path().join("member"), "Desk", &relay);
    member.push("from before", "accepted");

    for (number, theme) in [DARK, LIGHT].into_iter().enumerate() {
        let mut terminal =
            Terminal::open(&screen, &member, theme, &folder.path().join(format!("window{number}")), "invite");
        let link = screen.decode(&pictures.join(format!("qr-{number}.png")));
        assert!(link.starts_with("KSYNC:"), "{link}");
        let newcomer = Device::new(folder.path().join(format!("newcomer{number}")));
        let mut join = newcomer.start(&["join", &link, "--name", "Pixel 9"]);
        let code = join.event("check")["code"].as_str().unwrap().to_owned();
        terminal.types(&code);
        join.event("joined");
        join.ends_with(0);
        assert_eq!(terminal.exit_code(), 0);
        screen.picture(&pictures.join(format!("paired-{number}.png")));
        assert_eq!(newcomer.pulls(), ["from before"]);
    }
    assert_eq!(member.status()["devices"].as_array().unwrap().len(), 3);
}

#[test]
fn a_small_terminal_gets_the_link_alone() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start(folder.path().join("relay"));
    let screen = Screen::start();
    let member = Device::init(folder.path().join("member"), "Desk", &relay);
    let terminal = Terminal::open(&screen, &member, SMALL, &folder.path().join("window"), "invite --ttl 2");
    // It says so itself when its time is over, and a link was on the screen until then.
    assert_eq!(terminal.exit_code(), 5);
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("small.png");
    screen.picture(&picture);
    let found = crate::harness::run(std::process::Command::new("zbarimg").arg("--quiet").arg(&picture), b"");
    assert!(found.stdout.is_empty());
}
