//! Google's push service.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

use super::servers::{Answer, Log, RSA, START, Seen, Server, World, json, rsa_pem, token};
use super::*;

/// Both of Google's servers in one, with the answers that come before the usual ones.
struct Google {
    server: Server,
    granted: Log<String>,
    messages: Log<Value>,
    grants: Arc<Mutex<Vec<Answer>>>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

async fn google(world: &World) -> Google {
    let (granted, messages) = (Log::<String>::default(), Log::<Value>::default());
    let (grants, answers) = (Arc::<Mutex<Vec<Answer>>>::default(), Arc::<Mutex<Vec<Answer>>>::default());
    let (tokens, log, first, queued) = (granted.clone(), messages.clone(), grants.clone(), answers.clone());
    let handler = move |request: Seen| match &*request.path {
        "/token" => {
            verify_assertion(&request);
            if let Some(answer) = first.lock().unwrap().pop() {
                return answer;
            }
            let mut tokens = tokens.lock().unwrap();
            let token = format!("ya29.{}", tokens.len());
            tokens.push(token.clone());
            json(200, json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" }))
        }
        "/v1/projects/wake-1/messages:send" => {
            let last = tokens.lock().unwrap().last().cloned().unwrap();
            assert_eq!((&*request.method, request.header("content-type")), ("POST", "application/json"));
            log.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
            assert_eq!(request.header("authorization"), format!("Bearer {last}"));
            queued.lock().unwrap().pop().unwrap_or_else(|| json(200, json!({ "name": "projects/wake-1/messages/0" })))
        }
        _ => 404.into(),
    };
    Google { server: world.serve(&["h2", "http/1.1"], handler).await, granted, messages, grants, answers }
}

fn verify_assertion(request: &Seen) {
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    let body = String::from_utf8(request.body.clone()).unwrap();
    let assertion = body.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, RSA.public_key().as_ref());
    let (header, claims) = token(assertion.unwrap(), |message, signature| key.verify(message, signature).is_ok());
    assert_eq!(header["alg"], "RS256");
    assert_eq!(claims["iss"], "wake@wake-1.iam.gserviceaccount.com");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/firebase.messaging");
    assert!(claims["aud"].as_str().unwrap().ends_with("/token"));
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(iat >= START && exp - iat == 3600);
}

pub(super) fn account(world: &World, port: u16) -> String {
    let account = json!({
        "type": "service_account", "project_id": "wake-1", "private_key": rsa_pem(),
        "client_email": "wake@wake-1.iam.gserviceaccount.com", "token_uri": format!("https://127.0.0.1:{port}/token"),
    });
    world.write("account.json", &account.to_string());
    format!("[[fcm]]\naccount = \"account.json\"\nurl = \"https://127.0.0.1:{port}/\"\n")
}

fn target() -> Target {
    Target::Fcm { project: "wake-1".into(), token: "registration:token".into() }
}

/// An answer as the interface gives one.
fn error(status: u16, code: &str, field: Option<&str>) -> Answer {
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code,
    })];
    if let Some(field) = field {
        let violations = json!([{ "field": field, "description": "it is wrong" }]);
        details
            .insert(0, json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations }));
    }
    json(status, json!({ "error": { "code": status, "message": "…", "status": "…", "details": details } }))
}

#[tokio::test]
async fn a_push_is_what_google_wants_and_a_token_is_kept_until_five_minutes_before_its_end() {
    let world = World::new();
    let google = google(&world).await;
    let sender = world.sender("", &account(&world, google.server.port));
    for (pause, tokens) in [(0, 1), (3599 - 301, 1), (1, 2), (60, 2)] {
        world.pass(pause);
        assert_eq!(sender.send(&target()).await, Sent::Accepted);
        assert_eq!(google.granted.lock().unwrap().len(), tokens);
    }
    let expected = json!({ "message": {
        "token": "registration:token",
        "data": { "ksync": "wake" },
        "android": { "priority": "high", "collapse_key": "0ksync", "ttl": "86400s" },
    }});
    assert_eq!(google.messages.lock().unwrap()[0], expected);
}

#[tokio::test]
async fn many_at_once_ask_for_one_token() {
    let world = World::new();
    let google = google(&world).await;
    let sender = Arc::new(world.sender("", &account(&world, google.server.port)));
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let sender = sender.clone();
        sends.spawn(async move { sender.send(&target()).await });
    }
    assert!(sends.join_all().await.into_iter().all(|sent| sent == Sent::Accepted));
    assert_eq!(google.granted.lock().unwrap().len(), 1);
    assert_eq!(google.messages.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let world = World::new();
    let google = google(&world).await;
    let sender = world.sender("", &account(&world, google.server.port));
    let counts = || (google.granted.lock().unwrap().len(), google.messages.lock().unwrap().len());
    google.answers.lock().unwrap().push(401.into());
    assert_eq!(sender.send(&target()).await, Sent::Accepted);
    assert_eq!(counts(), (2, 2));
    google.answers.lock().unwrap().push(401.into());
    assert_eq!(sender.send(&target()).await, Sent::Refused(Refusal::Credentials));
    assert_eq!(counts(), (2, 3), "it was replaced a moment ago");
    world.pass(60);
    google.answers.lock().unwrap().extend([401.into(), 401.into()]);
    assert_eq!(sender.send(&target()).await, Sent::Refused(Refusal::Credentials));
    assert_eq!(counts(), (3, 5), "no third attempt");
}

#[tokio::test]
async fn an_account_that_gets_no_token_is_left_alone_for_a_moment() {
    let world = World::new();
    let google = google(&world).await;
    let sender = world.sender("", &account(&world, google.server.port));
    let after = Answer { headers: vec![("retry-after", "9".into())], ..503.into() };
    for (answer, sent) in [
        (json(400, json!({ "error": "invalid_grant" })), Sent::Refused(Refusal::Credentials)),
        (401.into(), Sent::Refused(Refusal::Credentials)),
        (after, Sent::Later(Some(std::time::Duration::from_secs(9)))),
        (json(200, json!({ "token": 1 })), Sent::Later(None)),
    ] {
        google.grants.lock().unwrap().push(answer);
        for _ in 0..2 {
            assert_eq!(sender.send(&target()).await, sent);
        }
        world.pass(5);
    }
    assert!(google.messages.lock().unwrap().is_empty() && google.granted.lock().unwrap().is_empty());
    assert_eq!(sender.send(&target()).await, Sent::Accepted);
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    let world = World::new();
    let google = google(&world).await;
    let sender = world.sender("", &account(&world, google.server.port));
    let after = Answer { headers: vec![("retry-after", "60".into())], ..error(429, "QUOTA_EXCEEDED", None) };
    for (answer, sent) in [
        (error(404, "UNREGISTERED", None), Sent::Gone),
        (error(400, "INVALID_ARGUMENT", None), Sent::Gone),
        (error(400, "INVALID_ARGUMENT", Some("message.token")), Sent::Gone),
        (error(403, "SENDER_ID_MISMATCH", None), Sent::Gone),
        (error(400, "INVALID_ARGUMENT", Some("message.android.ttl")), Sent::Refused(Refusal::Status(400))),
        (400.into(), Sent::Refused(Refusal::Status(400))),
        (404.into(), Sent::Refused(Refusal::Status(404))),
        (403.into(), Sent::Refused(Refusal::Credentials)),
        (after, Sent::Later(Some(std::time::Duration::from_secs(60)))),
        (error(503, "UNAVAILABLE", None), Sent::Later(None)),
        (error(500, "INTERNAL", None), Sent::Later(None)),
        (302.into(), Sent::Refused(Refusal::Status(302))),
    ] {
        let status = answer.status;
        google.answers.lock().unwrap().push(answer);
        assert_eq!(sender.send(&target()).await, sent, "{status}");
    }
}

#[tokio::test]
async fn projects_without_an_account_and_tokens_that_are_none_are_not_sent() {
    let world = World::new();
    let google = google(&world).await;
    let sender = world.sender("", &account(&world, google.server.port));
    for (project, token, refusal) in [
        ("wake-2", "x".to_owned(), Refusal::NoCredentials),
        ("wake-1", String::new(), Refusal::Malformed),
        ("wake-1", "a b".to_owned(), Refusal::Malformed),
        ("wake-1", "x".repeat(4097), Refusal::Malformed),
    ] {
        let target = Target::Fcm { project: project.into(), token };
        assert_eq!(sender.check(&target), Err(refusal));
        assert_eq!(sender.send(&target).await, Sent::Refused(refusal));
    }
    assert_eq!(google.server.connections(), 0);
}
