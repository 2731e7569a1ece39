//! `dist`: the relay as it is given out, one static program, and the folder that its image is built from.

use std::path::{Path, PathBuf};

use crate::arrows::{list, metadata};
use crate::process::{capture, cargo, program, root, run as run_program};
use crate::{Failure, failed, fresh_folder, no_arguments, setup};

/// Where Debian keeps the certificates that it trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What [`relay`] made.
pub(crate) struct Made {
    pub(crate) program: PathBuf,
    /// What `relay/deploy/Containerfile` is built from.
    pub(crate) context: PathBuf,
}

/// `cargo xtask dist`
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    setup::to_distribute()?;
    let made = relay()?;
    let size = made.program.metadata().map_err(|e| failed("look at the program", e))?.len();
    println!("\n{size} bytes");
    run_program(program("sha256sum", &[]).arg(&made.program))?;
    println!("\nIts image, with buildah, podman or docker:");
    println!("  buildah build --format docker -t sync-relay -f relay/deploy/Containerfile {}", made.context.display());
    Ok(())
}

/// `cargo xtask sbom`
pub(crate) fn sbom(args: &[String]) -> Result<(), Failure> {
    no_arguments(args)?;
    setup::for_sbom()?;
    let target = host()?;
    // What the program for that target is built from, not what a Windows or a test would add.
    let mut write =
        cargo(&["cyclonedx", "--manifest-path", "relay/Cargo.toml", "--format", "json", "--spec-version", "1.5"]);
    write.args(["--target", &target, "--override-filename", "sync-relay.cdx"]);
    run_program(&mut write)?;
    let made = fresh_folder("sbom")?.join("sync-relay.cdx.json");
    // It writes one beside every manifest of the workspace, with this machine's folders as names of our crates.
    for package in list(&metadata()?, "packages") {
        let written =
            Path::new(package["manifest_path"].as_str().unwrap_or_default()).with_file_name("sync-relay.cdx.json");
        if package["name"] == "sync-relay" {
            let text = std::fs::read_to_string(&written).map_err(|e| failed("read the list", e))?;
            let text = text.replace(&root().display().to_string(), "/0k-sync");
            std::fs::write(&made, text).map_err(|e| failed("put the list away", e))?;
        }
        std::fs::remove_file(&written).map_err(|e| failed("remove a list", e))?;
    }
    println!("{}", made.display());
    Ok(())
}

/// Builds the relay and lays out what goes into its image.
///
/// The target is named although it is this machine's: only then are build scripts and macros, which run here and are loaded by the
/// compiler, not made static as well. Paths are cut off so that the same source gives the same bytes in every folder.
pub(crate) fn relay() -> Result<Made, Failure> {
    let target = host()?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.ok_or("neither CARGO_HOME nor HOME says where cargo keeps its sources")?;
    let (home, here) = (home.display().to_string(), root().display().to_string());
    let mut build = cargo(&["build", "--locked", "--profile", "dist", "--package", "sync-relay", "--target", &target]);
    build.env(
        "RUSTFLAGS",
        format!("-C target-feature=+crt-static --remap-path-prefix={here}=/0k-sync --remap-path-prefix={home}=/cargo"),
    );
    // The same for what is written in C.
    build.env("CFLAGS", format!("-ffile-prefix-map={home}=/cargo -ffile-prefix-map={here}=/0k-sync"));
    build.env_remove("RUSTC_WORKSPACE_WRAPPER");
    run_program(&mut build)?;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let made = root().join(folder).join(&target).join("dist/sync-relay");
    let context = context(&made, &target)?;
    Ok(Made { program: made, context })
}

/// Beside the program: the authorities by which the relay knows others when it asks them over HTTPS, and the folder for its data.
/// Both are made here, as an image from nothing has no shell that could.
fn context(made: &Path, target: &str) -> Result<PathBuf, Failure> {
    let folder = fresh_folder("image")?;
    // As container tools name it.
    let architecture = if target.starts_with("aarch64") { "arm64" } else { "amd64" };
    let copy = |from: &Path, to: PathBuf| std::fs::copy(from, to).map_err(|e| failed("lay out the image", e));
    for name in [architecture, "data"] {
        std::fs::create_dir(folder.join(name)).map_err(|e| failed("lay out the image", e))?;
    }
    copy(made, folder.join(architecture).join("sync-relay"))?;
    copy(Path::new(AUTHORITIES), folder.join("ca-certificates.crt"))?;
    run_program(program("chmod", &["700"]).arg(folder.join("data")))?;
    Ok(folder)
}

/// The target that this machine's compiler builds for.
fn host() -> Result<String, Failure> {
    let told = capture(&mut program("rustc", &["-vV"]))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not say its host")?;
    if host.contains("-linux-") {
        Ok(host.to_owned())
    } else {
        Err(format!("static programs are for Linux, not {host}"))
    }
}
