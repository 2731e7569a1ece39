//! Installs what the checks and tests need and the machine lacks.

use std::path::PathBuf;

use crate::process::{cargo, on_path, program, run, succeeds, target};
use crate::web;
use crate::{Failure, failed};

/// How to see whether a package is there.
enum Sign {
    /// It brings a program of this name.
    Program(&'static str),
    /// It brings a module for the system's Python.
    Module(&'static str),
    /// It brings a file of this path.
    File(&'static str),
    /// It brings a program of this name, on the path or where Debian keeps PostgreSQL's, a folder for each version.
    Database(&'static str),
}

struct Package {
    name: &'static str,
    sign: Sign,
    /// What would not work without it.
    reason: &'static str,
}

/// The Python of the system, which sees Debian's modules; the first `python3` on the path may be another.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

use Sign::{Database, File, Module, Program};

/// How many of [`PACKAGES`], from the first, building the programs without windows needs.
const TO_BUILD: usize = 3;
/// How many of them building and picturing windows needs; the tests need all.
const FOR_WINDOWS: usize = 9;
/// How many of them trying an app in a network of its own needs.
const FOR_NEW_APPS: usize = 10;

#[rustfmt::skip]
const PACKAGES: &[Package] = &[
    Package { name: "gcc", sign: Program("gcc"), reason: "builds aws-lc and SQLite, and the shim that drops unsynced writes" },
    Package { name: "libc6-dev", sign: File("/usr/include/dlfcn.h"), reason: "the headers of the same" },
    Package { name: "libdbus-1-dev", sign: File("/usr/include/dbus-1.0/dbus/dbus.h"), reason: "what a keychain is asked through" },
    Package { name: "libwebkit2gtk-4.1-dev", sign: File("/usr/include/webkitgtk-4.1/webkit2/webkit2.h"), reason: "the webview of Tauri apps" },
    Package { name: "webkit2gtk-driver", sign: Program("WebKitWebDriver"), reason: "steers windows in tests" },
    Package { name: "xvfb", sign: Program("Xvfb"), reason: "screens without a monitor" },
    Package { name: "fonts-dejavu-core", sign: File("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"), reason: "what windows are written in, and the block characters of a terminal's QR" },
    Package { name: "imagemagick", sign: Program("import"), reason: "takes screenshots" },
    Package { name: "zbar-tools", sign: Program("zbarimg"), reason: "decodes the QR from a screenshot" },
    Package { name: "iproute2", sign: Program("ip"), reason: "network namespaces" },
    Package { name: "python3", sign: File(PYTHON), reason: "the independent check of the vectors" },
    Package { name: "python3-cryptography", sign: Module("cryptography"), reason: "primitives of that check" },
    Package { name: "python3-argon2", sign: Module("argon2"), reason: "Argon2id for the same" },
    Package { name: "xterm", sign: Program("xterm"), reason: "the terminal that shows it" },
    Package { name: "x11-utils", sign: Program("xwininfo"), reason: "tells when the window is there" },
    Package { name: "gnome-keyring", sign: Program("gnome-keyring-daemon"), reason: "a real keychain, for the tests that keep a key in one" },
    Package { name: "dbus-daemon", sign: Program("dbus-run-session"), reason: "a session bus for the same" },
    Package { name: "g++", sign: Program("g++"), reason: "builds LLVM's fuzzer" },
    Package { name: "nftables", sign: Program("nft"), reason: "cuts devices off from UDP" },
    Package { name: "tcpdump", sign: Program("tcpdump"), reason: "records which hosts are talked to" },
    Package { name: "prometheus", sign: Program("promtool"), reason: "reads the relay's metrics and alerts as a monitor does" },
    Package { name: "pebble", sign: Program("pebble-challtestsrv"), reason: "a certification authority that speaks ACME" },
    Package { name: "postgresql", sign: Database("initdb"), reason: "the database that several relays share, for the tests of that" },
    Package { name: "python3-yaml", sign: Module("yaml"), reason: "reads the files for platforms and workflows" },
];

/// What aws-lc's FIPS module is built with, besides. Debian's cmake is older than it wants.
const FOR_FIPS: &[Package] = &[
    Package { name: "golang-go", sign: Program("go"), reason: "builds aws-lc's FIPS module" },
    Package { name: "python3-pip", sign: Program("pip3"), reason: "installs a cmake that is new enough for it" },
];

/// What Magic Wormhole is installed with.
const FOR_FILES: &[Package] =
    &[Package { name: "python3-venv", sign: Module("ensurepip"), reason: "a folder for Magic Wormhole alone" }];

/// What files are measured beside, each in the version whose options this knows; and what each of the packages of Magic Wormhole
/// brings.
const SENDME: &str = "0.37.1";
const WORMHOLE: [(&str, &str); 3] = [
    ("magic-wormhole==0.24.0", "wormhole"),
    ("magic-wormhole-mailbox-server==0.8.0", "twist"),
    ("magic-wormhole-transit-relay==0.5.0", "twist"),
];

/// What shows a relay another time.
const FOR_DISTURBANCES: &[Package] =
    &[Package { name: "faketime", sign: Program("faketime"), reason: "sets the clock of one program" }];

/// What the relay's image is built and run with, besides.
#[rustfmt::skip]
const FOR_CONTAINERS: &[Package] = &[
    Package { name: "ca-certificates", sign: File("/etc/ssl/certs/ca-certificates.crt"), reason: "the authorities that the image trusts" },
    Package { name: "buildah", sign: Program("buildah"), reason: "builds the relay's image" },
    Package { name: "podman", sign: Program("podman"), reason: "runs it" },
    Package { name: "runc", sign: Program("runc"), reason: "what podman runs it by" },
];

struct Tool {
    name: &'static str,
    version: &'static str,
    reason: &'static str,
}

/// Programs from crates.io. A version that is there already is used as it is.
const TOOLS: &[Tool] = &[
    Tool {
        name: "cargo-nextest",
        version: "^0.9",
        reason: "runs each test in a process of its own, with a time limit",
    },
    Tool { name: "cargo-deny", version: "^0.20", reason: "licences, bans and sources of dependencies" },
];

/// What lists the crates within a program.
const FOR_SBOM: &[Tool] =
    &[Tool { name: "cargo-cyclonedx", version: "^0.5.9", reason: "writes what the relay is made of" }];

/// What rustup's smallest profile leaves out: the subcommand, and the component that brings it.
const COMPONENTS: [(&str, &str); 2] = [("clippy", "clippy"), ("fmt", "rustfmt")];

/// Everything: packages of the system, then tools, then what comes from npm.
pub(crate) fn everything() -> Result<(), Failure> {
    packages(PACKAGES)?;
    components()?;
    tools(TOOLS)?;
    web::install()
}

/// The same, and the right to make network namespaces, which the tests with bad lines need. Said before anything is built.
pub(crate) fn for_tests() -> Result<(), Failure> {
    everything()?;
    if succeeds(&mut program("unshare", &["--net", "true"])) {
        return Ok(());
    }
    Err("the tests make networks of their own on this machine, which takes root: run `sudo -E env \"PATH=$PATH\" cargo xtask test`".to_owned())
}

/// What the tests want, and what aws-lc's FIPS module is built with.
pub(crate) fn for_fips() -> Result<(), Failure> {
    packages(PACKAGES)?;
    packages(FOR_FIPS)?;
    tools(TOOLS)?;
    if on_path("cmake") {
        println!("cmake is there");
        return Ok(());
    }
    println!("missing: cmake (builds aws-lc's FIPS module)");
    run(&mut program("pip3", &["install", "--quiet", "--break-system-packages", "cmake"]))
}

/// Only what the programs are built with.
pub(crate) fn to_build() -> Result<(), Failure> {
    packages(&PACKAGES[..TO_BUILD])
}

/// What the relays of several kinds are run with.
pub(crate) fn for_relays() -> Result<(), Failure> {
    to_build()?;
    packages(PACKAGES.iter().filter(|package| package.name == "postgresql"))
}

/// What disturbs relays, besides.
pub(crate) fn for_disturbances() -> Result<(), Failure> {
    for_relays()?;
    packages(FOR_DISTURBANCES)
}

/// What files are measured beside, and what makes the networks in which that is done. Says in which folder it is.
pub(crate) fn for_files() -> Result<PathBuf, Failure> {
    if !is_root() {
        return Err("this makes networks of its own on this machine, which takes root: run `sudo -E env \"PATH=$PATH\" cargo xtask bench files`".to_owned());
    }
    packages(PACKAGES.iter().filter(|package| ["iproute2", "python3"].contains(&package.name)))?;
    packages(FOR_FILES)?;
    let folder = target().join("tools");
    let text = folder.display().to_string();
    if !folder.join("bin").join("sendme").exists() {
        println!("missing: sendme {SENDME} (what files are measured beside); building it takes ten minutes, once");
        let mut install = program("nice", &["-n", "10"]);
        install.arg(cargo(&[]).get_program());
        install.args(["install", "--locked", "--quiet", "--version", SENDME, "--root", &text, "sendme"]);
        // As its authors build it: in a folder of its own, and without what watches the code of this workspace.
        install.arg("--target-dir").arg(folder.join("build"));
        install.env_remove("RUSTC_WORKSPACE_WRAPPER").env_remove("CLIPPY_ARGS");
        run(&mut install)?;
        std::fs::remove_dir_all(folder.join("build")).map_err(|e| failed("delete what sendme was built in", e))?;
    }
    let wormhole = folder.join("wormhole");
    if !WORMHOLE.iter().all(|(_, program)| wormhole.join("bin").join(program).exists()) {
        println!("missing: Magic Wormhole (the same)");
        run(&mut program(PYTHON, &["-m", "venv", &wormhole.display().to_string()]))?;
        let pip = wormhole.join("bin").join("pip");
        run(program(pip, &["install", "--quiet"]).args(WORMHOLE.map(|(package, _)| package)))?;
    }
    Ok(folder)
}

/// What the relay is built with that is given out, and laid out for its image.
pub(crate) fn to_distribute() -> Result<(), Failure> {
    to_build()?;
    packages(&FOR_CONTAINERS[..1])
}

/// What the relay's list of parts is written with.
pub(crate) fn for_sbom() -> Result<(), Failure> {
    tools(FOR_SBOM)
}

/// What the relay's image is built and run with.
pub(crate) fn for_containers() -> Result<(), Failure> {
    if !is_root() {
        return Err("its engine's storage and limits are set up here for root alone".to_owned());
    }
    packages(FOR_CONTAINERS)
}

/// What windows are built with, shown on and pictured with, and what comes from npm.
pub(crate) fn for_windows() -> Result<(), Failure> {
    packages(&PACKAGES[..FOR_WINDOWS])?;
    web::install()
}

/// The same, and what shuts an app in with itself.
pub(crate) fn for_new_apps() -> Result<(), Failure> {
    packages(&PACKAGES[..FOR_NEW_APPS])?;
    web::install()
}

/// Installs the missing packages of the system, or says which command would.
fn packages(wanted: impl IntoIterator<Item = &'static Package>) -> Result<(), Failure> {
    let wanted: Vec<_> = wanted.into_iter().collect();
    let missing: Vec<_> = wanted.iter().copied().filter(|package| !is_there(package)).collect();
    if missing.is_empty() {
        println!("all {} system packages are there", wanted.len());
        return Ok(());
    }
    for package in &missing {
        println!("missing: {} ({})", package.name, package.reason);
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if !on_path("apt-get") {
        let names = names.join(" ");
        return Err(format!(
            "this is no Debian; install what these Debian packages hold, then run this again: {names}"
        ));
    }
    if !is_root() {
        return Err(format!(
            "run this once, then this command again:\n  sudo apt-get update && sudo apt-get install -y {}",
            names.join(" ")
        ));
    }
    run(&mut apt(&["update", "-qq"]))?;
    run(apt(&["install", "-y", "-qq", "--no-install-recommends"]).args(&names))?;
    match missing.iter().find(|package| !is_there(package)) {
        None => Ok(()),
        Some(package) => Err(format!("'{}' is installed, but what it is for cannot be found", package.name)),
    }
}

/// Installs the parts of the toolchain that are missing.
fn components() -> Result<(), Failure> {
    for (subcommand, component) in COMPONENTS {
        if !succeeds(&mut cargo(&[subcommand, "--version"])) {
            println!("missing: {component} (a part of the toolchain)");
            run(&mut program("rustup", &["component", "add", component]))?;
        }
    }
    Ok(())
}

/// Installs the cargo tools that are missing.
fn tools(wanted: &[Tool]) -> Result<(), Failure> {
    for tool in wanted {
        let subcommand = tool.name.trim_start_matches("cargo-");
        if succeeds(&mut cargo(&[subcommand, "--version"])) {
            println!("{} is there", tool.name);
            continue;
        }
        println!("missing: {} ({}); building it takes some minutes, once", tool.name, tool.reason);
        let mut install = cargo(&["install", "--locked", "--quiet", "--version", tool.version, tool.name]);
        // It is used for seconds and built on the spot: a quick build matters more here than quick code.
        install.env("CARGO_PROFILE_RELEASE_LTO", "false");
        install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256");
        run(&mut install)?;
    }
    Ok(())
}

fn is_there(package: &Package) -> bool {
    match package.sign {
        Program(name) => on_path(name),
        File(path) => std::path::Path::new(path).exists(),
        Database(name) => {
            on_path(name) || versions_of_postgresql().any(|version| version.join("bin").join(name).exists())
        }
        Module(name) => succeeds(&mut program(PYTHON, &["-c", &format!("import {name}")])),
    }
}

fn versions_of_postgresql() -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path())
}

pub(crate) fn is_root() -> bool {
    program("id", &["-u"]).output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt(args: &[&str]) -> std::process::Command {
    let mut command = program("apt-get", args);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
