//! Two copies of 0k Notes pair by the QR on a screen, share notes, and are pictured: `ksync-picture FOLDER FILE`.
//!
//! The folder takes the devices' data and has to be empty; the file is a PNG with both screens beside each other.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it tells what it does on its standard output")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ksync_e2e::notes::{Device, pair, says, sees, write};
use ksync_e2e::{Relay, until};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, file] = arguments.as_slice() else {
        eprintln!("usage: ksync-picture FOLDER FILE");
        return ExitCode::from(2);
    };
    take(folder, file).await;
    ExitCode::SUCCESS
}

async fn take(folder: &Path, file: &Path) {
    let relay = Relay::start(&folder.join("relay")).await;
    let (laptop, phone) = (Device::new(folder, "Laptop", &relay), Device::new(folder, "Phone", &relay).dark());
    let (a, b) = (laptop.start().await, phone.start().await);
    println!("two windows of 0k Notes are open, each on a screen of its own");
    pair(&laptop, &a, &b, &folder.join("qr.png")).await;
    println!(
        "Laptop showed a QR, Phone took what a camera reads in a picture of that screen, and four digits were typed"
    );
    write(&a, "Shopping\nMilk, bread, and the good olives.").await;
    sees(&b, "Shopping").await;
    write(&b, "Walk along the coast\nTrain at 9:12, back before dark.\nMara brings the map.").await;
    sees(&a, "Walk along the coast").await;
    println!("a note written on each of them is on the other");
    for (app, device, name) in [(&a, &laptop, "Laptop.png"), (&b, &phone, "Phone.png")] {
        says(app, "Everything is on both devices").await;
        // What was told of the pairing goes by itself.
        until("no message over the page", async || app.text("[data-testid=toast]").await.is_none().then_some(())).await;
        device.screen().picture(&folder.join(name));
    }
    let beside = Command::new("montage")
        .args(["Laptop.png", "Phone.png", "-tile", "2x1", "-geometry", "+12+12", "-background", "#8a93a3"])
        .arg(std::path::absolute(file).expect("a path"))
        .current_dir(folder)
        .status();
    assert!(beside.is_ok_and(|status| status.success()), "the two pictures cannot be put together");
    println!("both screens are in {}", file.display());
}
