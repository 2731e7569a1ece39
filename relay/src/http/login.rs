//! A browser's way to the status page: the token typed once, a cookie from then on. The token is never in a URL.

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use zeroize::Zeroizing;

use super::{Shown, page};
use crate::hub::now_ms;

/// How long a form may be, in bytes.
const FORM: usize = 4 << 10;

/// Where the token is typed.
pub(super) fn form(was_wrong: bool) -> Response {
    let wrong = if was_wrong { "<p class=\"wrong\" role=\"alert\">That is not the token.</p>" } else { "" };
    let body = format!(
        "<main class=\"login\"><h1>sync-relay</h1><form method=\"post\" action=\"/login\">{wrong}\
         <label for=\"token\">Host token</label>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus>\
         <button>Show the status</button></form>\
         <p>The token stands in the file of <code>--host-token-file</code>.</p></main>"
    );
    page::answer(StatusCode::UNAUTHORIZED, "sync-relay", None, &body)
}

pub(super) async fn log_in(State(shown): State<Shown>, request: Request) -> Response {
    let body = to_bytes(request.into_body(), FORM).await.unwrap_or_default();
    let token = field(&body, b"token");
    match token.and_then(|token| shown.guard.log_in(&token, now_ms())) {
        Some(cookie) => to_status(cookie),
        None => form(true),
    }
}

pub(super) async fn log_out(State(shown): State<Shown>) -> Response {
    to_status(shown.guard.log_out())
}

fn to_status(cookie: String) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)]).into_response()
}

/// A field of a form, as browsers encode it.
fn field(form: &[u8], name: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut pairs = form.split(|byte| *byte == b'&');
    let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(value.len()));
    let mut rest = value;
    while let [first, behind @ ..] = rest {
        rest = behind;
        bytes.push(match (first, behind) {
            (b'+', _) => b' ',
            (b'%', [high, low, ..]) => {
                rest = &behind[2..];
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(*high)? * 16 + digit(*low)?) as u8
            }
            _ => *first,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let of = |form: &str| field(form.as_bytes(), b"token").map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        assert_eq!(of("a=b&token=x%2By+z%c3%A9").as_deref(), Some("x+y zé"));
        assert_eq!(of("token=").as_deref(), Some(""));
        assert_eq!(of("token=%"), Some("%".to_owned()));
        assert_eq!(of("token=%zz"), None);
        assert_eq!(of("tokens=a"), None);
    }
}
