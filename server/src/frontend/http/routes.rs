//! All methods and paths, and what each stands for. Who reads this table knows the whole door; what is not in it is not there.

use axum::body::Body;
use axum::response::Response;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method};
use serde_json::{Map, Value};

use super::asked::Asked;
use super::problem::Problem;
use super::{administration, health, inspection, leases, listening, openapi, sessions, watch, websocket};
use crate::frontend::listener::Kind;

/// What a request is answered with.
pub(super) type Answered = Result<Response, Problem>;

/// A method and a path.
#[cfg_attr(not(test), expect(dead_code, reason = "a test makes the description, which has the words"))]
pub(super) struct Route {
    pub(super) method: Method,
    /// See `path`.
    pub(super) path: &'static str,
    /// Where it is.
    on: On,
    /// What it needs a place for.
    pub(super) kind: Kind,
    /// Whoever asks is answered.
    pub(super) for_everybody: bool,
    /// What it does, in a line; this and the next two are for its description.
    pub(super) summary: &'static str,
    /// The message that the request makes; empty: none.
    pub(super) asks: &'static str,
    /// The message that it is answered with; empty: something else.
    pub(super) answers: &'static str,
    pub(super) answer: fn(Asked) -> BoxFuture<'static, Answered>,
}

/// Listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Clients,
    Administrators,
    Both,
}

impl Route {
    /// Whether it is on a listener of administrators, or on one of clients.
    pub(super) fn is_on(&self, for_administrators: bool) -> bool {
        self.on == On::Both || (self.on == On::Administrators) == for_administrators
    }
}

macro_rules! route {
    ($method:ident $path:literal, $on:ident, $kind:ident, $for_everybody:literal, $summary:literal,
     $asks:literal => $answers:literal, $answer:path) => {
        Route {
            method: Method::$method,
            path: $path,
            on: On::$on,
            kind: Kind::$kind,
            for_everybody: $for_everybody,
            summary: $summary,
            asks: $asks,
            answers: $answers,
            answer: |asked| $answer(asked).boxed(),
        }
    };
}

/// All of them.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    // Leases.
    route!(POST "/v1/leases", Clients, Open, false, "Takes a lease: a lock with a session of its own", "LeaseRequest" => "Lease", leases::create),
    route!(GET "/v1/leases/{lease}", Clients, Call, false, "Is the lease still held? Renews it as well", "LeaseRef" => "Lease", leases::get),
    route!(POST "/v1/leases/{lease}:renew", Clients, Call, false, "Renews a lease", "LeaseRef" => "LeaseRenewed", leases::renew),
    route!(DELETE "/v1/leases/{lease}", Clients, Call, false, "Ends a lease; the lock is free at once", "LeaseRef" => "LeaseReleased", leases::release),
    // Sessions and their claims.
    route!(POST "/v1/sessions", Clients, Open, false, "Opens a session", "Open" => "Opened", sessions::open),
    route!(POST "/v1/sessions/{session}:keepAlive", Clients, Call, false, "Says that the session's client lives", "KeepAlive" => "KeptAlive", sessions::keep_alive),
    route!(POST "/v1/sessions/{session}:resume", Clients, Open, false, "Moves a session here from a broker that went away", "Resume" => "Resumed", sessions::resume),
    route!(POST "/v1/sessions/{session}:close", Clients, Call, false, "Ends a session and everything it holds", "Close" => "Closed", sessions::close),
    route!(POST "/v1/sessions/{session}:unlockAll", Clients, Call, false, "Releases all claims of the session, or of one owner in it", "UnlockAll" => "UnlockedAll", sessions::unlock_all),
    route!(POST "/v1/sessions/{session}/claims", Clients, Call, false, "Locks. 202 says that the claim still waits: the same request goes on waiting", "Lock" => "Completion", sessions::lock),
    route!(POST "/v1/sessions/{session}/claims/{claim}:convert", Clients, Call, false, "Changes the mode of a claim. 202 says that this still waits, as with a lock", "Convert" => "Completion", sessions::convert),
    route!(POST "/v1/sessions/{session}/claims/{claim}:cancel", Clients, Call, false, "Withdraws what a claim waits for", "Cancel" => "Cancelled", sessions::cancel),
    route!(DELETE "/v1/sessions/{session}/claims/{claim}", Clients, Call, false, "Releases a claim", "Unlock" => "Completion", sessions::unlock),
    route!(GET "/v1/sessions/{session}/events", Clients, Watch, false, "The events of the session, for clients without a stream: Server-Sent Events", "Listen" => "Listening", listening::listen),
    route!(GET "/v1/stream", Clients, Session, true, "A WebSocket that carries one session: the messages of the gRPC stream, by `sixpin.v1.json` or `sixpin.v1.proto`", "" => "", websocket::stream),
    // Who holds and who waits.
    route!(GET "/v1/resources", Both, Inspection, false, "Resources that somebody has a claim on", "ListResourcesRequest" => "ListResourcesResponse", inspection::resources),
    route!(GET "/v1/resources/{name}", Both, Inspection, false, "Who has a resource, and who waits for it", "GetResourceRequest" => "ResourceState", inspection::resource),
    route!(POST "/v1/resources:get", Both, Inspection, false, "The same, with the name in the body", "GetResourceRequest" => "ResourceState", inspection::resource),
    route!(GET "/v1/resources/{name}:watch", Both, Watch, false, "A resource now, and again after each change: Server-Sent Events, or with `version` and `wait` one answer", "WatchResourceRequest" => "ResourceState", watch::watch),
    route!(GET "/v1/claims", Both, Inspection, false, "The claims of a session, or of an owner within a lockspace", "ListClaimsRequest" => "ListClaimsResponse", inspection::claims),
    route!(GET "/v1/sessions", Both, Inspection, false, "The sessions that the broker asked vouches for", "ListSessionsRequest" => "ListSessionsResponse", inspection::sessions),
    route!(GET "/v1/brokers", Both, Inspection, false, "All brokers on the stores", "ListBrokersRequest" => "ListBrokersResponse", inspection::brokers),
    route!(GET "/v1/status", Both, Inspection, false, "State and counters of the broker that is asked", "GetStatusRequest" => "BrokerStatus", inspection::status),
    route!(GET "/v1/waits", Both, Inspection, false, "The longest waits of the broker asked, each with who is in its way", "ListWaitsRequest" => "ListWaitsResponse", inspection::waits),
    route!(GET "/v1/contended", Both, Inspection, false, "What most wait for", "ListContendedRequest" => "ListContendedResponse", inspection::contended),
    // Administration.
    route!(POST "/v1/resources/{name}:forceUnlock", Administrators, Call, false, "Takes claims of a session away", "ForceUnlockRequest" => "ForceUnlockResponse", administration::force_unlock),
    route!(POST "/v1/resources:forceUnlock", Administrators, Call, false, "The same, with the name in the body", "ForceUnlockRequest" => "ForceUnlockResponse", administration::force_unlock),
    route!(POST "/v1/resources/{name}:notifyHolder", Administrators, Call, false, "Asks a holder to let go", "NotifyHolderRequest" => "NotifyHolderResponse", administration::notify_holder),
    route!(POST "/v1/resources:notifyHolder", Administrators, Call, false, "The same, with the name in the body", "NotifyHolderRequest" => "NotifyHolderResponse", administration::notify_holder),
    route!(POST "/v1/resources/{name}:purgeOrphans", Administrators, Call, false, "Removes claims that outlived their sessions", "PurgeOrphansRequest" => "PurgeOrphansResponse", administration::purge_orphans),
    route!(POST "/v1/resources:purgeOrphans", Administrators, Call, false, "The same, with the name in the body", "PurgeOrphansRequest" => "PurgeOrphansResponse", administration::purge_orphans),
    route!(POST "/v1/resources/{name}:removeDamaged", Administrators, Call, false, "Removes a record that cannot be understood", "RemoveDamagedRequest" => "RemoveDamagedResponse", administration::remove_damaged),
    route!(POST "/v1/resources:removeDamaged", Administrators, Call, false, "The same, with the name in the body", "RemoveDamagedRequest" => "RemoveDamagedResponse", administration::remove_damaged),
    route!(POST "/v1/sessions/{session}:expire", Administrators, Call, false, "Ends a session, and gives away what it holds", "ExpireSessionRequest" => "ExpireSessionResponse", administration::expire_session),
    route!(POST "/v1/broker:drain", Administrators, Call, false, "Tells all clients to move, waits for them, and leaves", "DrainBrokerRequest" => "DrainBrokerResponse", administration::drain),
    route!(GET "/metrics", Administrators, Inspection, false, "What the broker counts, as OpenMetrics text", "" => "", administration::metrics),
    // The process.
    route!(GET "/livez", Both, Call, true, "The process answers", "" => "", health::lives),
    route!(GET "/readyz", Both, Call, true, "Every store serves; otherwise 503 says which does not", "" => "", health::is_ready),
    route!(GET "/openapi.json", Both, Call, true, "This description", "" => "", openapi::get),
];

/// An answer with these fields.
pub(super) fn json(fields: Map<String, Value>) -> Response {
    let mut response = Response::new(Body::from(Value::from(fields).to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
