//! A real browser without a window, by `WebDriver` (<https://www.w3.org/TR/webdriver2/>): chromium, and chromedriver that leads it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::support::http::Http;

/// The key under which an element's reference stands (`WebDriver`, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How often chromedriver is started until it listens.
const ATTEMPTS: usize = 5;

/// A browser takes much of a small machine, so there is one at a time.
static ONE: Mutex<()> = Mutex::const_new(());

/// A browser with one window. Ends when dropped.
pub struct Browser {
    http: Http,
    session: String,
    _driver: Driver,
    profile: TempDir,
    _one: MutexGuard<'static, ()>,
}

/// chromedriver, and where it listens.
struct Driver {
    process: Child,
    address: SocketAddr,
    session: String,
}

impl Driver {
    fn start() -> Self {
        let started = (0..ATTEMPTS).find_map(|_| Self::try_to_start());
        started.unwrap_or_else(|| panic!("chromedriver ended {ATTEMPTS} times before it said its port"))
    }

    /// None if it ended at once: it looks for a port of its own, and somebody else may take that before it listens there.
    fn try_to_start() -> Option<Self> {
        let mut command = Command::new(find("chromedriver"));
        let mut process = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let port = lines.find_map(|line| {
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').parse().ok()
        });
        let Some(port) = port else {
            process.wait().unwrap();
            return None;
        };
        // It must be able to say more.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), session: String::new() })
    }

    /// Ends the browser, without anything that a test that has failed might not have any more.
    fn end_session(&self) -> std::io::Result<()> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            socket,
            "DELETE /session/{} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.session, self.address
        )?;
        socket.read_exact(&mut [0; 12])
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.end_session();
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    pub async fn start() -> Self {
        Self::with_preferences(json!({})).await
    }

    /// With these preferences of chromium.
    pub async fn with_preferences(preferences: Value) -> Self {
        let one = ONE.lock().await;
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Driver::start();
        let http = Http::to(driver.address);
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &user_data,
        ];
        let options = json!({ "binary": find("chromium"), "args": arguments, "prefs": preferences });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "acceptInsecureCerts": true, "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" } } } });
        let begun = http.post("/session", wanted).await;
        let session = begun.body["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no browser: {}", begun.body));
        driver.session = session.to_owned();
        let browser = Self { session: session.to_owned(), http, _driver: driver, profile, _one: one };
        // An element may be one of a page that is still on its way.
        browser.tell("timeouts", json!({ "implicit": 10_000 })).await;
        browser.screen(1_280, 900, false).await;
        browser
    }

    /// One command.
    async fn tell(&self, command: &str, what: Value) -> Value {
        let answer = self.http.post(&format!("/session/{}/{command}", self.session), what).await;
        assert_eq!(answer.status, 200, "{command}: {}", answer.body);
        answer.body["value"].clone()
    }

    async fn ask(&self, what: &str) -> Value {
        let answer = self.http.get(&format!("/session/{}/{what}", self.session)).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        answer.body["value"].clone()
    }

    /// A command of the `DevTools` protocol.
    async fn tools(&self, command: &str, parameters: Value) {
        self.tell("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    /// A screen of this size; on a narrow one as on a phone.
    pub async fn screen(&self, width: u32, height: u32, phone: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.tools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// As somebody sees it whose system says `dark` or `light`.
    pub async fn theme(&self, theme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.tools("Emulation.setEmulatedMedia", features).await;
    }

    pub async fn open(&self, address: &str) {
        self.tell("url", json!({ "url": address })).await;
    }

    pub async fn title(&self) -> String {
        self.ask("title").await.as_str().unwrap().to_owned()
    }

    pub async fn address(&self) -> String {
        self.ask("url").await.as_str().unwrap().to_owned()
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.tell("element", json!({ "using": "css selector", "value": selector })).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// What people read there.
    pub async fn text(&self, selector: &str) -> String {
        // The browser may go to another page between the two, which has an element of its own.
        loop {
            let element = self.element(selector).await;
            let answer = self.http.get(&format!("/session/{}/element/{element}/text", self.session)).await;
            match answer.body["value"].as_str() {
                Some(text) => return text.to_owned(),
                None => assert_eq!(answer.body["value"]["error"], "stale element reference"),
            }
        }
    }

    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.tell(&format!("element/{element}/click"), json!({})).await;
    }

    /// Follows the link that has this text.
    pub async fn follow(&self, text: &str) {
        let found = self.tell("element", json!({ "using": "partial link text", "value": text })).await;
        let element = found[ELEMENT].as_str().unwrap();
        self.tell(&format!("element/{element}/click"), json!({})).await;
    }

    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.tell(&format!("element/{element}/value"), json!({ "text": text })).await;
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let press = |key: char| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<Value> = keys.chars().flat_map(press).collect();
        self.tell("actions", json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] })).await;
    }

    /// What this expression is in the page.
    pub async fn value(&self, expression: &str) -> Value {
        self.tell("execute/sync", json!({ "script": format!("return {expression}"), "args": [] })).await
    }

    /// What the browser keeps for the site.
    pub async fn cookies(&self) -> Value {
        self.ask("cookie").await
    }

    /// What the page has complained about.
    pub async fn complaints(&self) -> Value {
        self.tell("se/log", json!({ "type": "browser" })).await
    }

    /// The screen, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        STANDARD.decode(self.ask("screenshot").await.as_str().unwrap()).unwrap()
    }

    /// Where its files are, which all its processes are told.
    pub fn profile(&self) -> String {
        self.profile.path().display().to_string()
    }
}

/// A program: from `SIXPIN_SERVERS` or `target/servers`, or on PATH.
fn find(program: &str) -> PathBuf {
    let beside = std::env::var_os("SIXPIN_SERVERS").map(PathBuf::from);
    let beside = beside.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::iter::once(beside.clone()).chain(std::env::split_paths(&path));
    folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file())).unwrap_or_else(|| {
        panic!("`{program}` is not on PATH or in {}: run scripts/get-servers, which brings it", beside.display())
    })
}
