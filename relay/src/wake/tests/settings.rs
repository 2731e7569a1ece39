//! What a host may get wrong.

use super::fcm::account;
use super::servers::rsa_pem;
use super::*;

#[test]
fn a_file_says_all_of_it() {
    let (world, _) = apns::world();
    let more = account(&world, 9);
    let settings = world
        .settings(&format!(
            "allow = [\"10.0.0.0/8\", \"127.0.0.1/32\", \"fd00::/8\"]\nroots = \"ca.pem\"\n\
             [web]\nsubject = \"mailto:host@example.org\"\n[[apns]]\ntopic = \"a.b\"\nkey = \"key.p8\"\n\
             key_id = \"KEY4567890\"\nteam_id = \"TEAM567890\"\n{more}"
        ))
        .unwrap();
    let shown = "Settings { apns: [\"a.b\"], fcm: [\"wake-1\"], allow: [Network { first: 10.0.0.0, bits: 8 }, ";
    assert!(format!("{settings:?}").starts_with(shown), "{settings:?}");
    assert!(world.settings("").is_ok(), "nothing has to be said");
}

/// Each mistake, what the message says and where it points.
#[test]
fn each_mistake_is_named() {
    let (world, _) = apns::world();
    let fcm = account(&world, 9);
    let apns = "[[apns]]\ntopic = \"a.b\"\nkey = \"key.p8\"\nkey_id = \"KEY4567890\"\nteam_id = \"TEAM567890\"\n";
    world.write("rsa.p8", &rsa_pem());
    world.write("empty", "");
    let certificate = std::fs::read_to_string(world.folder.path().join("ca.pem")).unwrap();
    world.write("odd.pem", &certificate.replacen("MII", "AII", 1));
    let good = std::fs::read_to_string(world.folder.path().join("account.json")).unwrap();
    let changed = |name: &str, from: &str, to: &str| {
        assert!(good.contains(from));
        world.write(name, &good.replace(from, to));
    };
    changed("no-email.json", "client_email", "email");
    changed("no-project.json", "wake-1\"", "../x\"");
    changed("no-uri.json", "https://127", "127");
    changed("no-key.json", "-----BEGIN PRIVATE KEY-----", "-----BEGIN KEY-----");
    changed("number.json", "\"client_email\":\"wake@wake-1.iam.gserviceaccount.com\"", "\"client_email\":7");
    let with = |from: &str, to: &str| apns.replace(from, to);
    let named = |name: &str| format!("[[fcm]]\naccount = \"{name}\"\n");
    for (text, line, about) in [
        ("subject = \"mailto:x@y\"".into(), Some(1), "unknown field `subject`"),
        ("\n[web]\nsubjekt = \"mailto:x@y\"".into(), Some(3), "unknown field `subjekt`"),
        ("[web]\nsubject = \"x@y\"".into(), Some(2), "begins with mailto:"),
        ("[web".into(), Some(1), "unclosed"),
        ("allow = \"10.0.0.0/8\"".into(), Some(1), "expected a sequence"),
        ("allow = [\n\"10.0.0.0/8\",\n\"10.0.0.1/8\"]".into(), Some(3), "write 10.0.0.0/8"),
        ("allow = [\"intranet\"]".into(), Some(1), "intranet is no network"),
        ("roots = \"absent.pem\"".into(), None, "absent.pem cannot be read"),
        ("roots = \"empty\"".into(), Some(1), "holds no certificates"),
        ("roots = \"rsa.p8\"".into(), Some(1), "holds no certificates"),
        ("roots = \"odd.pem\"".into(), Some(1), "holds no certificates"),
        (with("key_id", "keyid"), Some(4), "unknown field `keyid`"),
        (with("key_id = \"KEY4567890\"\n", ""), Some(1), "missing field `key_id`"),
        (with("KEY4567890", "KEY"), Some(4), "key_id is the ten letters"),
        (with("TEAM567890", "TEAM 67890"), Some(5), "team_id is the ten letters"),
        (with("a.b", ""), Some(2), "topic is the app's bundle identifier"),
        (apns.repeat(2), Some(7), "two keys for a.b"),
        (with("key.p8", "absent.p8"), None, "absent.p8 cannot be read"),
        (with("key.p8", "empty"), Some(3), "name the .p8 file"),
        (with("key.p8", "rsa.p8"), Some(3), "holds no P-256 key"),
        (with("key.p8", "ca.pem"), Some(3), "holds no P-256 key"),
        (format!("{apns}url = \"push.example.org\""), Some(6), "url is an address such as"),
        (format!("{apns}url = \"https://push.example.org/?a\""), Some(6), "url is an address such as"),
        (format!("{fcm}{fcm}"), Some(5), "two accounts for wake-1"),
        (named("absent.json"), None, "absent.json cannot be read"),
        (named("empty"), Some(2), "name the JSON file"),
        (named("key.p8"), Some(2), "name the JSON file"),
        (named("no-email.json"), Some(2), "missing field `client_email`"),
        (named("number.json"), Some(2), "expected a string"),
        (named("no-project.json"), Some(2), "project_id is no project's"),
        (named("no-uri.json"), Some(2), "token_uri is no URL"),
        (named("no-key.json"), Some(2), "private_key is no RSA key"),
        ("[[fcm]]\nkey = \"x\"".into(), Some(2), "unknown field `key`"),
    ] {
        let message = world.settings(&text).unwrap_err().to_string();
        let place = line.map_or("/".to_owned(), |line| format!("push.toml, line {line}: "));
        assert!(message.contains(about) && message.contains(&place), "{text}\ngave: {message}");
        assert!(!message.contains('\n') && !message.contains("MII"), "{message}");
    }
    let absent = Settings::read(&world.folder.path().join("absent.toml")).unwrap_err().to_string();
    assert!(absent.contains("absent.toml cannot be read"));
}
