//! Who is the relay's host: whoever shows the token, in a header or by a cookie that a login gave; without a token whoever
//! comes from this machine.

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use super::{Peer, Shown, login};
use crate::config::{HostToken, PublicUrl};
use crate::hub::now_ms;

/// For how long a login holds, in seconds.
const HOLDS_S: u64 = 12 * 3_600;
/// The cookie's name.
const COOKIE: &str = "ksync_host";
/// What a proxy adds. Whoever comes through one is not on this machine, although the proxy may be.
const PROXIED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Tells the host from others.
#[derive(Clone)]
pub(crate) struct Guard {
    token: Option<HostToken>,
    /// What cookies are made with. Gone with the process, and so are the logins.
    secret: Arc<[u8; 32]>,
    /// Whether browsers reach this over TLS alone.
    secure: bool,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is missing or wrong.
    NeedsToken,
    /// There is no token, and this comes from elsewhere.
    NotHere,
}

impl Guard {
    /// Without a token, only this machine is let in.
    ///
    /// # Panics
    /// If the system gives no randomness.
    pub(crate) fn new(token: Option<HostToken>, public_url: Option<&PublicUrl>) -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("without randomness nothing here is safe");
        let secure = public_url.is_some_and(|url| url.origin().starts_with("https://"));
        Self { token, secret: Arc::new(secret), secure }
    }

    pub(super) fn check(&self, peer: Option<Peer>, headers: &HeaderMap, now_ms: u64) -> Result<(), Refused> {
        let Some(token) = &self.token else {
            let here = peer.is_some_and(|peer| !peer.by_proxy && peer.ip.to_canonical().is_loopback());
            let proxied = PROXIED.iter().any(|name| headers.contains_key(*name));
            return if here && !proxied { Ok(()) } else { Err(Refused::NotHere) };
        };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer =
            bearer.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if let Some((_, shown)) = bearer {
            return if token.is(shown.trim().as_bytes()) { Ok(()) } else { Err(Refused::NeedsToken) };
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut own = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        match own.any(|(name, value)| name == COOKIE && self.is_own(value, now_ms)) {
            true => Ok(()),
            false => Err(Refused::NeedsToken),
        }
    }

    /// A cookie for whoever shows the token.
    pub(super) fn log_in(&self, shown: &[u8], now_ms: u64) -> Option<String> {
        if !self.token.as_ref()?.is(shown) {
            return None;
        }
        let until = now_ms / 1_000 + HOLDS_S;
        Some(self.cookie(&format!("{until}.{}", self.mac(until)), HOLDS_S))
    }

    /// A cookie that takes the place of one and is none.
    pub(super) fn log_out(&self) -> String {
        self.cookie("", 0)
    }

    /// What the page shows to whoever logged in.
    pub(super) fn log_out_form(&self) -> &'static str {
        match self.token {
            Some(_) => "<form method=\"post\" action=\"/logout\"><button>Log out</button></form>",
            None => "",
        }
    }

    fn cookie(&self, value: &str, age_s: u64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{COOKIE}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}")
    }

    fn is_own(&self, value: &str, now_ms: u64) -> bool {
        let Some((until, mac)) = value.split_once('.') else { return false };
        let Ok(until) = until.parse::<u64>() else { return false };
        until > now_ms / 1_000 && bool::from(self.mac(until).as_bytes().ct_eq(mac.as_bytes()))
    }

    fn mac(&self, until: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.secret);
        HEXLOWER.encode(hmac::sign(&key, &until.to_be_bytes()).as_ref())
    }
}

/// Lets the host through.
pub(super) async fn host_only(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    match shown.guard.check(peer, request.headers(), now_ms()) {
        Ok(()) => next.run(request).await,
        Err(Refused::NeedsToken) if request.uri().path() == "/" => login::form(false),
        Err(Refused::NeedsToken) => {
            let asked = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, asked, "this wants the token of --host-token-file\n").into_response()
        }
        Err(Refused::NotHere) => {
            let text = "this is for the relay's host: ask from its own machine, or start it with --host-token-file\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a-token-of-some-length";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn peer(address: &str) -> Option<Peer> {
        let address: std::net::SocketAddr = address.parse().unwrap();
        Some(Peer { ip: address.ip(), by_proxy: false })
    }

    #[test]
    fn without_a_token_only_this_machine_is_let_in() {
        let guard = Guard::new(None, None);
        let check = |from: &str, pairs: &[(&'static str, &str)]| guard.check(peer(from), &headers(pairs), 0);
        for here in ["127.0.0.1:9", "127.0.0.77:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            assert_eq!(check(here, &[("host", "relay")]), Ok(()), "{here}");
        }
        for elsewhere in ["10.0.0.1:9", "[2001:db8::1]:9"] {
            assert_eq!(check(elsewhere, &[]), Err(Refused::NotHere), "{elsewhere}");
        }
        for name in PROXIED {
            assert_eq!(check("127.0.0.1:9", &[(name, "for=127.0.0.1")]), Err(Refused::NotHere), "{name}");
        }
        assert_eq!(guard.check(None, &HeaderMap::new(), 0), Err(Refused::NotHere));
        assert_eq!(guard.log_in(b"", 0), None);
    }

    #[test]
    fn a_token_or_a_cookie_lets_in_from_everywhere_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        let url = PublicUrl::parse("https://relay.example").unwrap();
        let guard = Guard::new(Some(HostToken::read(&file).unwrap()), Some(&url));
        let check = |pairs: &[(&'static str, &str)]| guard.check(peer("127.0.0.1:9"), &headers(pairs), 1_000_000);
        assert_eq!(check(&[]), Err(Refused::NeedsToken), "this machine too: a proxy may be on it");
        assert_eq!(check(&[("authorization", &format!("Bearer {TOKEN}"))]), Ok(()));
        assert_eq!(check(&[("authorization", &format!("bearer  {TOKEN} "))]), Ok(()));
        for wrong in [format!("Basic {TOKEN}"), format!("Bearer {TOKEN}x"), "Bearer".into(), "Bearer ".into()] {
            assert_eq!(check(&[("authorization", &wrong)]), Err(Refused::NeedsToken), "{wrong}");
        }
        assert_eq!(guard.log_in(b"wrong", 1_000_000), None);
        let cookie = guard.log_in(TOKEN.as_bytes(), 1_000_000).unwrap();
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure") && !cookie.contains(TOKEN), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        assert_eq!(check(&[("cookie", &format!("a=b; {pair}"))]), Ok(()));
        let later = 1_000_000 + HOLDS_S * 1_000;
        assert!(guard.check(None, &headers(&[("cookie", pair)]), later).is_err(), "a login ends");
        let (name, value) = pair.split_once('=').unwrap();
        let (until, mac) = value.split_once('.').unwrap();
        let longer = format!("{name}={}.{mac}", until.parse::<u64>().unwrap() + 1);
        for forged in [longer.as_str(), "ksync_host=", "ksync_host=99999999999.", "ksync_host=x.y"] {
            assert_eq!(check(&[("cookie", forged)]), Err(Refused::NeedsToken), "{forged}");
        }
        let other = Guard::new(Some(HostToken::read(&file).unwrap()), None);
        assert!(other.check(None, &headers(&[("cookie", pair)]), 1_000_000).is_err(), "of another process");
        std::fs::write(&file, "short\n").unwrap();
        assert!(HostToken::read(&file).is_err());
    }
}
