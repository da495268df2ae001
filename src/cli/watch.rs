//! `sixpin watch`: one line for each change of a resource.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use sixpin_client::{Inspection, Watch};
use sixpin_core::name::ResourceName;
use sixpin_proto::v1;

use super::connect::ClientArgs;
use super::failure::{Failure, note, warn};
use super::output::{self, Format};
use super::view::{self, ResourceView};

/// Claims of one queue that a line names; the rest is counted.
const NAMED_MAX: usize = 4;
/// Rest before a broken stream is opened again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often it is said that no broker answers.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What `sixpin watch` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The resource; one that begins with a dash comes last, after `--`.
    #[arg(value_parser = ResourceName::new)]
    resource: ResourceName,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Change {
    time: String,
    #[serde(flatten)]
    resource: ResourceView,
}

/// Watches a resource until it is interrupted, at another broker when one goes. Only at the beginning must there be one.
pub async fn run(args: Args) -> Result<(), Failure> {
    let inspection = args.client.inspection()?;
    let resource = args.client.common.space.resource(&args.resource);
    let request = v1::WatchResourceRequest { resource: Some(resource) };
    let mut changes = open(&inspection, &request).await?;
    let mut last: Option<v1::ResourceState> = None;
    loop {
        let ended = loop {
            match changes.next().await {
                Ok(Some(state)) => {
                    // A stream begins with the state as it is, which is no change after a broken one.
                    if last.as_ref().is_none_or(|last| last.version != state.version) {
                        show(&state, args.client.common.output)?;
                    }
                    last = Some(state);
                }
                Ok(None) => break "the broker ended the stream".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        warn(format_args!("{ended}, trying again"));
        changes = open_again(&inspection, &request).await;
    }
}

async fn open(inspection: &Inspection, request: &v1::WatchResourceRequest) -> Result<Watch, Failure> {
    inspection.watch_resource(request.clone()).await.map_err(Failure::inspecting)
}

/// Tries until a broker answers.
async fn open_again(inspection: &Inspection, request: &v1::WatchResourceRequest) -> Watch {
    let mut said: Option<Instant> = None;
    loop {
        tokio::time::sleep(RETRY_AFTER).await;
        match open(inspection, request).await {
            Ok(stream) => {
                note("watching again");
                return stream;
            }
            Err(failure) if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) => {
                said = Some(Instant::now());
                warn(format_args!("{}, trying again", failure.text()));
            }
            Err(_) => {}
        }
    }
}

fn show(state: &v1::ResourceState, format: Format) -> Result<(), Failure> {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    match format {
        Format::Json => output::json_line(&Change { time, resource: state.clone().into() }),
        Format::Text => output::text(&format!("{time}  {}\n", line(state))),
    }
}

/// The three queues in one line.
fn line(state: &v1::ResourceState) -> String {
    if !state.damage.is_empty() {
        return format!("damaged: {}", state.damage);
    }
    let queues = [(v1::Queue::Granted, "held"), (v1::Queue::Converting, "converting"), (v1::Queue::Waiting, "waiting")];
    let parts: Vec<String> = queues.into_iter().filter_map(|(queue, word)| part(state, queue, word)).collect();
    match (parts.is_empty(), state.left_out) {
        (true, _) => "free".to_owned(),
        (false, 0) => parts.join(" | "),
        (false, left_out) => format!("{} and {left_out} more", parts.join(" | ")),
    }
}

fn part(state: &v1::ResourceState, queue: v1::Queue, word: &str) -> Option<String> {
    let claims: Vec<&v1::ClaimInfo> = state.claims.iter().filter(|claim| claim.queue() == queue).collect();
    let name = |claim: &&v1::ClaimInfo| {
        let fence = if queue == v1::Queue::Granted { format!(" fence {}", claim.fence) } else { String::new() };
        format!("{} {}{fence}", view::claim_mode(claim), view::who(claim))
    };
    let mut named: Vec<String> = claims.iter().take(NAMED_MAX).map(name).collect();
    if claims.len() > NAMED_MAX {
        named.push(format!("{} more", claims.len() - NAMED_MAX));
    }
    (!named.is_empty()).then(|| format!("{word}: {}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(queue: v1::Queue, mode: v1::Mode, label: &str) -> v1::ClaimInfo {
        let mut claim = v1::ClaimInfo { label: label.into(), fence: 7, ..Default::default() };
        claim.set_queue(queue);
        claim.set_granted(mode);
        claim.set_requested(mode);
        claim
    }

    #[test]
    fn a_state_is_one_line() {
        let mut state = v1::ResourceState::default();
        assert_eq!(line(&state), "free");
        state.claims.push(claim(v1::Queue::Granted, v1::Mode::Ex, "a@x:1"));
        state.claims.extend((0..6).map(|_| claim(v1::Queue::Waiting, v1::Mode::Pr, "b@x:2")));
        assert_eq!(line(&state), "held: EX a@x:1 fence 7 | waiting: PR b@x:2, PR b@x:2, PR b@x:2, PR b@x:2, 2 more");
    }
}
