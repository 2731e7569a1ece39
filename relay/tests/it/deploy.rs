//! The files in `deploy` by which relays run elsewhere: they can be read, their settings are taken, and they agree with each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::docs::{COMMANDS, help};

/// Settings by the names of their variables.
type Variables = BTreeMap<String, String>;

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap()
}

/// A file in YAML, as Python reads it: nothing here does.
fn yaml(name: &str) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let file = std::fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    let output = python.args(["-c", script]).stdin(file).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} (this wants Debian's python3-yaml): {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The image's instructions, each as its word and the rest of it.
fn image() -> Vec<(String, String)> {
    let joined = text("Containerfile").replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).map(|(word, rest)| (word.to_owned(), rest.to_owned())).collect()
}

fn instruction(word: &str) -> String {
    image().into_iter().find(|(found, _)| found == word).unwrap().1
}

fn of_the_image() -> Variables {
    let pairs = instruction("ENV");
    let pairs = pairs.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What a map of variables adds to the image's.
fn with(added: &Value) -> Variables {
    let mut variables = of_the_image();
    let added = added.as_object().unwrap().iter();
    variables.extend(added.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())));
    variables
}

fn of_compose() -> Variables {
    let mut variables = with(&yaml("compose.yml")["services"]["relay"]["environment"]);
    for value in variables.values_mut().filter(|value| value.starts_with("${")) {
        assert!(value.contains(":?"), "whoever leaves it out is told: {value}");
        "https://sync.example.org".clone_into(value);
    }
    variables
}

fn fly() -> Value {
    toml::from_str(&text("fly.toml")).unwrap()
}

fn render() -> Value {
    yaml("render.yaml")["services"][0].clone()
}

fn of_render() -> Variables {
    let mut variables = of_the_image();
    let entries = render()["envVars"].as_array().unwrap().clone();
    variables.extend(
        entries
            .iter()
            .map(|entry| (entry["key"].as_str().unwrap().to_owned(), entry["value"].as_str().unwrap().to_owned())),
    );
    variables
}

/// `sync-relay admin` with these settings, of which the folder is another and addresses are this machine's.
fn admin(folder: &Path, variables: &Variables, args: &[&str]) -> (i32, String) {
    let mut relay = Command::new(env!("CARGO_BIN_EXE_sync-relay"));
    relay.arg("admin").args(args).env("PORT", "10000").stdin(Stdio::null());
    for (name, value) in variables {
        let here = folder.display().to_string();
        let here = value.replace("/etc/secrets", &here).replace("/data", &here);
        relay.env(name, here.replace("0.0.0.0", "127.0.0.1"));
    }
    let output = relay.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn what_is_deployed_elsewhere_sets_what_there_is() {
    let deployed = [("compose.yml", of_compose()), ("fly.toml", with(&fly()["env"])), ("render.yaml", of_render())];
    for (name, variables) in deployed {
        let folder = tempfile::tempdir().unwrap();
        // Before it starts: the settings say where tokens go.
        let (code, said) = admin(folder.path(), &variables, &["token", "add", "alice", "--expires", "365d"]);
        assert_eq!(code, 0, "{name}: {said}");
        let (_, said) = admin(folder.path(), &variables, &["--json", "check"]);
        let findings: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(findings.iter().any(|f| f["about"] == "access" && f["level"] == "ok"), "{name}: {said}");
        assert!(!findings.iter().any(|f| f["about"] == "settings"), "{name}: {said}");
        assert!(folder.path().join("tokens").exists(), "{name}: {said}");
    }
}

#[test]
fn ports_folders_and_questions_are_the_same_everywhere() {
    let port = |of: &Variables, name: &str| of[name].rsplit(':').next().unwrap().to_owned();
    let image = of_the_image();
    let (quic, http) = (port(&image, "KSYNC_RELAY_LISTEN"), port(&image, "KSYNC_RELAY_HTTP"));
    let exposed = instruction("EXPOSE");
    assert_eq!(exposed, format!("{quic}/udp {http}/tcp"));

    let compose = yaml("compose.yml")["services"]["relay"].clone();
    let published =
        compose["ports"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().rsplit(':').next().unwrap());
    assert!(published.eq(exposed.split(' ')), "{compose}");
    let (fly, render) = (fly(), render());
    assert_eq!(fly["http_service"]["internal_port"].to_string(), port(&with(&fly["env"]), "KSYNC_RELAY_HTTP"));
    assert_eq!(port(&of_render(), "KSYNC_RELAY_HTTP"), "$PORT");
    let tunnel = yaml("cloudflared.yml");
    assert_eq!(tunnel["ingress"][0]["service"], format!("http://127.0.0.1:{http}"));
    assert!(help("serve").contains(&format!("[default: 127.0.0.1:{http}]")), "where a relay beside a tunnel listens");

    let data = image["KSYNC_RELAY_DATA"].as_str();
    assert!(instruction("VOLUME") == data && instruction("WORKDIR") == data);
    assert_eq!(compose["volumes"][0].as_str().unwrap().split(':').nth(1), Some(data));
    assert!(fly["mounts"]["destination"] == data && render["disk"]["mountPath"] == data);

    let asked = instruction("HEALTHCHECK");
    let asked: Vec<String> = serde_json::from_str(asked.split_once("CMD ").unwrap().1).unwrap();
    assert_eq!(compose["healthcheck"]["test"].as_array().unwrap()[1..], *asked);
    assert_eq!(asked[0], "/sync-relay");
    assert!(COMMANDS.contains(&asked[1..].join(" ").as_str()));
    assert!(fly["http_service"]["checks"][0]["path"] == "/ready" && render["healthCheckPath"] == "/ready");
}

#[test]
fn commands_in_comments_have_flags_that_there_are() {
    let all: String = COMMANDS.iter().map(|command| help(command)).collect();
    let mut seen = 0;
    for name in ["Containerfile", "compose.yml", "fly.toml", "render.yaml", "cloudflared.yml", "sync-relay.service"] {
        let file = text(name);
        let ours = file.lines().filter_map(|line| {
            let at =
                ["sync-relay serve ", "sync-relay admin ", "relay admin "].iter().find_map(|words| line.find(words))?;
            Some(&line[at..])
        });
        for flag in ours.flat_map(|line| line.split_whitespace().filter(|word| word.starts_with("--"))) {
            assert!(all.contains(flag), "{flag} in {name}");
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}
