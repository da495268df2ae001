//! Outputs of the session logic as lines of text.

use sixpin_client::logic::{ClaimEvent, Done, Grant, Output};
use sixpin_client::proto as v1;
use sixpin_client::proto::live_claim::{Held, Wanted};
use sixpin_client::proto::session_request::Body;
use sixpin_client::{Error, Mode};

/// One output as a line.
pub(crate) fn shown(output: &Output) -> String {
    match output {
        Output::Connect { link, address } => format!("connect {} to {address}", link.0),
        Output::Disconnect { link } => format!("disconnect {}", link.0),
        Output::Send { link, message } => {
            format!("send {}#{} {}", link.0, message.request, message.body.as_ref().map_or(String::new(), asked))
        }
        Output::Opened(opened) => format!("opened {} at {} ({})", opened.session, opened.address, opened.broker),
        Output::OpenFailed(error) => format!("open failed: {error}"),
        Output::ValidUntil(until) => format!("valid until {}", until.as_millis()),
        Output::State(state) => format!("state {state:?}"),
        Output::Complete { id, result } => format!("{} <- {}", id.0, ended(result)),
        Output::Changed(grant) => format!("changed: {}", granted(grant)),
        Output::ClaimEvent { claim, event } => match event {
            ClaimEvent::Blocking { wanted, own } => {
                format!("claim {claim} blocks {wanted}{}", if *own { " (itself)" } else { "" })
            }
            ClaimEvent::Lost(loss) => format!("claim {claim} lost: {loss:?}"),
            other => format!("claim {claim}: {other:?}"),
        },
        Output::Resumed { address, move_number, .. } => format!("resumed at {address}, move {move_number}"),
        Output::Over => "over".to_owned(),
    }
}

fn asked(body: &Body) -> String {
    match body {
        Body::Open(open) => {
            format!("open ttl={:?}{}", open.ttl_ms, if open.connection_bound { " bound" } else { "" })
        }
        Body::Resume(resume) => resumed(resume),
        Body::KeepAlive(keep_alive) => format!("keepalive move={}", keep_alive.move_number),
        Body::Lock(lock) => format!(
            "lock {}.{} {} {}{}",
            lock.claim,
            lock.operation,
            lock.resource.as_ref().map_or("", |resource| &resource.name),
            mode(lock.mode()),
            wait(lock.timeout_ms)
        ),
        Body::Convert(convert) => format!(
            "convert {}.{} {} {}{}{}",
            convert.claim,
            convert.operation,
            convert.resource.as_ref().map_or("", |resource| &resource.name),
            mode(convert.mode()),
            wait(convert.timeout_ms),
            if convert.queue_conversion { " queue" } else { "" }
        ),
        Body::Unlock(unlock) => {
            format!("unlock {}.{}{}", unlock.claim, unlock.operation, if unlock.force { " force" } else { "" })
        }
        Body::UnlockAll(_) => "unlock all".to_owned(),
        Body::Cancel(cancel) => format!("cancel {}.{}", cancel.claim, cancel.operation),
        Body::ConfirmLost(confirm) => format!("confirm lost {:?}", confirm.claims),
        Body::Close(_) => "close".to_owned(),
        Body::Authenticate(_) => "authenticate".to_owned(),
    }
}

fn resumed(resume: &v1::Resume) -> String {
    let claims: Vec<String> = resume
        .claims
        .iter()
        .map(|claim| {
            let waits = if claim.operation == 0 {
                String::new()
            } else {
                let wanted = match claim.wanted {
                    Some(Wanted::WantedMode(wanted)) => Mode::from_proto(wanted).map_or("?", Mode::as_str),
                    _ => "?",
                };
                format!(" waits {} {wanted} ticket={}{}", claim.operation, claim.ticket, wait(claim.wait_ms))
            };
            let held = match claim.held {
                Some(Held::Mode(held)) => {
                    format!(" {} fence={}", Mode::from_proto(held).map_or("?", Mode::as_str), claim.fence)
                }
                _ => String::new(),
            };
            let name = claim.resource.as_ref().map_or("", |resource| &resource.name);
            format!("{} {name}{held} last={}{waits}", claim.claim, claim.last_operation)
        })
        .collect();
    format!(
        "resume move={} next={} claims=[{}] void={:?}",
        resume.move_number,
        resume.next_claim,
        claims.join(", "),
        resume.void_claims
    )
}

fn ended(result: &Result<Done, Error>) -> String {
    match result {
        Ok(Done::Granted(grant)) => granted(grant),
        Ok(Done::Released) => "released".to_owned(),
        Ok(Done::ReleasedAll { released }) => format!("released {released}"),
        Err(Error::NotGranted(not)) => {
            let kept = not.mode.map_or(String::new(), |mode| format!(", keeps {mode}"));
            format!("{:?}{kept}{}", not.why, if not.demoted { " demoted" } else { "" })
        }
        Err(Error::Lost(loss)) => format!("lost: {loss:?}"),
        Err(error) => format!("error: {error}"),
    }
}

fn granted(grant: &Grant) -> String {
    let demoted = if grant.demoted { " demoted" } else { "" };
    let alternate = if grant.alternate { " alternate" } else { "" };
    format!("claim {} {} fence {}{demoted}{alternate}", grant.claim, grant.mode, grant.fence)
}

fn mode(mode: v1::Mode) -> &'static str {
    Mode::from_proto(mode.into()).map_or("?", Mode::as_str)
}

fn wait(timeout_ms: Option<u64>) -> String {
    match timeout_ms {
        None => String::new(),
        Some(0) => " try".to_owned(),
        Some(ms) => format!(" wait={ms}"),
    }
}
