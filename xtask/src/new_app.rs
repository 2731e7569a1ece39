//! A Tauri app as somebody starts one: create-tauri-app, then `tauri add`, with registries on this machine that hold this
//! repository's packages as they would be published.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Running, cargo, program, root, run};
use crate::{Failure, failed};

/// Makes the app. Its templates, and not this repository, say which versions the app starts with.
const CREATE: &str = "create-tauri-app@4.7.4";
/// The package of the frontend.
const API: &str = "tauri-plugin-0ksync-api";
const NPM_QUIET: [&str; 4] = ["--no-audit", "--no-fund", "--loglevel", "error"];

/// A cargo registry and an npm registry with this repository's packages in them. They end with this value.
pub(crate) struct Registries {
    _server: Running,
    npm: String,
    /// A home for cargo that knows of no other registry.
    cargo_home: PathBuf,
}

impl Registries {
    /// Starts both and publishes to them. `folder` takes what cargo and npm put on the disk.
    pub(crate) fn start(folder: &Path) -> Result<Self, Failure> {
        let mut command = program("node", &["e2e/registries/registries.mjs"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = Running::start(&mut command)?;
        let out = server.child().stdout.take().ok_or("the registries have no standard output")?;
        let mut registries = Self { _server: server, npm: String::new(), cargo_home: folder.join("cargo-home") };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).map_err(|e| failed("hear from the registries", e))?;
        let told: Value = serde_json::from_str(&line).map_err(|e| failed("read what the registries said", e))?;
        let address = |name: &str| told[name].as_str().map(str::to_owned).ok_or(format!("there is no {name} registry"));
        registries.npm = address("npm")?;
        let config = format!(
            "[registries.here]\nindex = \"sparse+{}/\"\n[source.crates-io]\nreplace-with = \"here\"\n",
            address("cargo")?
        );
        fs::create_dir_all(&registries.cargo_home).map_err(|e| failed("make a home for cargo", e))?;
        fs::write(registries.cargo_home.join("config.toml"), config).map_err(|e| failed("configure cargo", e))?;
        registries.publish_crates()?;
        registries.publish_api(folder)?;
        Ok(registries)
    }

    fn publish_crates(&self) -> Result<(), Failure> {
        // What is packed is built by the app later. The token is any word: these registries ask for none.
        let mut publish = cargo(&["publish", "--quiet", "--workspace", "--no-verify", "--allow-dirty"]);
        publish.args(["--registry", "here", "--token", "none"]);
        run(self.asked_by(&mut publish))
    }

    fn publish_api(&self, folder: &Path) -> Result<(), Failure> {
        let token = format!("--{}/:_authToken=none", self.npm.trim_start_matches("http:"));
        let mut publish = program("npm", &["publish", "--loglevel", "error", &token]);
        publish.env("NPM_CONFIG_CACHE", folder.join("npm-cache"));
        run(self.asked_by(&mut publish))
    }

    /// The same command, which asks these registries and no other.
    fn asked_by<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("CARGO_HOME", &self.cargo_home).env("NPM_CONFIG_REGISTRY", &self.npm)
    }
}

/// An app in a folder of its own.
pub(crate) struct NewApp<'a> {
    registries: &'a Registries,
    name: String,
    folder: PathBuf,
}

impl<'a> NewApp<'a> {
    /// What create-tauri-app makes of this template, and what npm installs for it.
    pub(crate) fn create(
        registries: &'a Registries,
        parent: &Path,
        name: &str,
        template: &str,
    ) -> Result<Self, Failure> {
        let app = Self { registries, name: name.to_owned(), folder: parent.join(name) };
        let identifier = format!("app.ksync.{name}");
        let mut create = program("npx", &["--yes", CREATE, name, "--template", template, "--manager", "npm"]);
        create.args(["--identifier", &identifier, "--yes"]).current_dir(parent).stdout(Stdio::null());
        run(&mut create)?;
        app.npm_install(&[])?;
        Ok(app)
    }

    /// `npm install PACKAGES`
    pub(crate) fn npm_install(&self, packages: &[&str]) -> Result<(), Failure> {
        run(self.command("npm", &["install"]).args(NPM_QUIET).args(packages).stdout(Stdio::null()))
    }

    /// `npm run tauri add PLUGIN`
    pub(crate) fn tauri_add(&self, plugin: &str) -> Result<(), Failure> {
        run(&mut self.command("npx", &["tauri", "add", plugin]))
    }

    /// `cargo add` within the app's crate.
    pub(crate) fn cargo_add(&self, args: &[&str]) -> Result<(), Failure> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut add = self.command(cargo, &["add", "--quiet"]);
        run(add.args(args).current_dir(self.folder.join("src-tauri")))
    }

    /// Whether `package.json` names the plugin's frontend package.
    pub(crate) fn has_api(&self) -> Result<bool, Failure> {
        let text = fs::read_to_string(self.folder.join("package.json")).map_err(|e| failed("read package.json", e))?;
        let package: Value = serde_json::from_str(&text).map_err(|e| failed("read package.json", e))?;
        Ok(package["dependencies"][API].is_string())
    }

    /// Installs the plugin's frontend package.
    pub(crate) fn install_api(&self) -> Result<(), Failure> {
        self.npm_install(&[API])
    }

    /// Goes on writing the page's program.
    pub(crate) fn write_page(&self, lines: &str) -> Result<(), Failure> {
        let file = fs::File::options().append(true).open(self.folder.join("src/main.ts"));
        let written = file.and_then(|mut file| writeln!(file, "\n{lines}"));
        written.map_err(|e| failed("write the app's page", e))
    }

    /// `npm run tauri build`, without installers. Gives the program.
    pub(crate) fn build(&self, target: &Path, release: bool) -> Result<PathBuf, Failure> {
        let mut build = self.command("npx", &["tauri", "build", "--no-bundle"]);
        if !release {
            build.arg("--debug");
        }
        run(build.env("CARGO_TARGET_DIR", target).env("CARGO_TERM_QUIET", "true").stdout(Stdio::null()))?;
        Ok(target.join(if release { "release" } else { "debug" }).join(&self.name))
    }

    /// Fetches what the app's crate depends on.
    pub(crate) fn fetch(&self) -> Result<(), Failure> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        run(self.command(cargo, &["fetch", "--quiet"]).current_dir(self.folder.join("src-tauri")))
    }

    /// Copies a program that was built into the app's folder, out of the way of the next build.
    pub(crate) fn keep(&self, program: &Path) -> Result<PathBuf, Failure> {
        let kept = self.folder.join(&self.name);
        fs::copy(program, &kept).map_err(|e| failed("keep the program", e))?;
        Ok(kept)
    }

    fn command(&self, name: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
        let mut command = program(name, args);
        self.registries.asked_by(&mut command).current_dir(&self.folder);
        command
    }
}

/// An empty folder beside no repository, as long as this value is there: cargo takes an app within one for a part of it.
pub(crate) fn folder_outside(name: &str) -> Result<TempDir, Failure> {
    let folder = tempfile::Builder::new().prefix(name).tempdir().map_err(|e| failed("make a folder", e))?;
    if folder.path().starts_with(root()) {
        return Err(format!("{}, the folder for temporary files, lies in the repository", folder.path().display()));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_a_folder_of_its_own_that_goes_with_it() {
        let [one, other] = [folder_outside("ksync-test-"), folder_outside("ksync-test-")].map(|f| f.expect("a folder"));
        assert_ne!(one.path(), other.path());
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }
}
