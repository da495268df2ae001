//! The operator's page: what it shows, what its forms do and for whom, and all of it in a real browser.

#[cfg(target_os = "linux")]
mod browser;
#[cfg(target_os = "linux")]
mod driver;
mod forms;
mod lately;
mod live;
mod measure;
mod notify;
#[cfg(target_os = "linux")]
mod pictures;
mod secure;
mod sign;
mod silent;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use sixpin_client::{Client, Credentials, Session};
use sixpin_core::backend::Backend;
use sixpin_memory::{Faulty, MemoryBackend};
use sixpin_server::access::token::Token;
use sixpin_server::config::{self, Config};
use sixpin_server::server::Server;

use crate::support::http::{Answer, Http};

/// What tries to be more than a name.
const HOSTILE: &str =
    "<img src=x onerror=\"document.title='owned'\"> '\"</td></script><script>document.title='owned'</script>";

fn config(settings: &str) -> Config {
    let common = "name = \"north\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfirst_start_grace = \"0s\"\n\
                  require = \"volatile\"\n";
    config::parse(&format!("{common}{settings}"), "sixpin.toml", [], toml::Table::new()).unwrap()
}

/// A broker with memory of its own, and who looks at its page.
struct World {
    server: Server,
    page: Http,
}

impl World {
    async fn start() -> Self {
        Self::configured("").await
    }

    async fn configured(settings: &str) -> Self {
        Self::of(config(settings)).await
    }

    async fn of(config: Config) -> Self {
        let server = Server::start(config).await.unwrap();
        let page = Http::to(server.admin_address.unwrap());
        Self { server, page }
    }

    /// On a store that does as it is told.
    async fn on(store: Arc<Faulty<MemoryBackend>>) -> Self {
        let stores: BTreeMap<_, Arc<dyn Backend>> = BTreeMap::from([(config::DEFAULT_BACKEND.to_string(), store as _)]);
        let server = Server::start_on(config(""), stores).await.unwrap();
        let page = Http::to(server.admin_address.unwrap());
        Self { server, page }
    }

    fn client(&self) -> Client {
        Client::builder([self.server.address.to_string()]).open_timeout(Duration::from_secs(2)).build().unwrap()
    }

    /// One that shows this token.
    fn client_of(&self, token: &Token) -> Client {
        let credentials = Credentials::new().token(token.reveal());
        Client::builder([self.server.address.to_string()]).credentials(credentials).build().unwrap()
    }

    async fn session(&self, label: &str) -> Session {
        self.client().session().label(label).open().await.unwrap()
    }

    /// Where the page is.
    fn address(&self) -> String {
        format!("http://{}", self.server.admin_address.unwrap())
    }

    /// How many wait at this resource.
    async fn waiting(&self, name: &str) -> usize {
        let state = self.page.get(&format!("/v1/resources/{}", encoded(name))).await.is(200);
        let claims = state["claims"].as_array().unwrap();
        claims.iter().filter(|claim| claim["queue"] == "WAITING").count()
    }

    /// Sends a form as a browser does that shows this page.
    async fn send(&self, http: &Http, address: &str, fields: &[(&str, &str)]) -> Answer {
        post(&http.with("origin", &self.address()), address, fields).await
    }
}

async fn post(http: &Http, address: &str, fields: &[(&str, &str)]) -> Answer {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let kind = Some("application/x-www-form-urlencoded");
    http.send(Method::POST, address, kind, Bytes::from(fields.join("&"))).await
}

/// As it stands in an address.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// As it stands in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A view, if it is one.
#[track_caller]
fn html(answer: &Answer, status: u16) -> &str {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert_eq!(header(&answer.headers, "content-type"), "text/html; charset=utf-8");
    answer.body.as_str().unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The value of a hidden field.
fn hidden<'a>(html: &'a str, name: &str) -> &'a str {
    let begin = format!("name=\"{name}\" value=\"");
    html.split_once(&begin).unwrap_or_else(|| panic!("no field {name}: {html}")).1.split('"').next().unwrap()
}

/// Three who may do different things.
struct Tokens {
    operator: Token,
    reader: Token,
    settings: String,
}

impl Tokens {
    fn new() -> Self {
        let (operator, reader) = (Token::new("operator").unwrap(), Token::new("reader").unwrap());
        let rule = |allow: &str| format!("rules = [{{ lockspace = \"*\", prefix = \"\", allow = [{allow}] }}]\n");
        let settings = format!(
            "[access.roles.operator]\n{}[access.roles.reader]\n{}[access.tokens.operator]\nsha256 = \"{}\"\nroles = [\"operator\"]\n\
             [access.tokens.reader]\nsha256 = \"{}\"\nroles = [\"reader\"]\n",
            rule("\"lock\", \"inspect\", \"watch\", \"notify\", \"force\", \"expire\""),
            rule("\"inspect\""),
            operator.digest(),
            reader.digest()
        );
        Self { operator, reader, settings }
    }
}

/// Shows this token.
fn with(http: &Http, token: &Token) -> Http {
    http.with("authorization", &format!("Bearer {}", token.reveal()))
}
