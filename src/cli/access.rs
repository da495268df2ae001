//! `sixpin access`: what a configuration allows to whom, without asking a broker.

use std::path::PathBuf;

use serde_json::json;
use sixpin_core::access::{Names, Place, Principal, Rule, Verb, Verbs};
use sixpin_core::name::{Lockspace, ResourceId, ResourceName};
use sixpin_server::access::policy::Policy;
use sixpin_server::config::settings;

use super::failure::Failure;
use super::output::{self, Format, Table};
use super::{exit, serve};

/// What `sixpin access` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What can be asked.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say whether somebody may do something, and which rule decides. Status 1 if not.
    Check(Check),
    /// List who has which roles, and what these allow.
    Show(Of),
}

/// Which configuration is meant.
#[derive(Debug, clap::Args)]
struct Of {
    /// Configuration file of a broker. Variables that begin with `SIXPIN_SERVE_` count as they do for the broker.
    #[arg(long, value_name = "FILE", env = "SIXPIN_SERVE_CONFIG")]
    config: Option<PathBuf>,
    /// Text for people or JSON for programs.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
}

/// What `sixpin access check` takes.
#[derive(Debug, clap::Args)]
struct Check {
    /// Which configuration is meant.
    #[command(flatten)]
    of: Of,
    /// Who: `anonymous`, `token:ID`, `certificate:NAME` or `jwt:ISSUER#SUBJECT`.
    #[arg(long, value_name = "PRINCIPAL")]
    principal: String,
    /// The roles that the token of `jwt:...` lists.
    #[arg(long, value_name = "ROLE,...", value_delimiter = ',')]
    roles: Vec<String>,
    /// Where: a lockspace, or `*` for all of them.
    #[arg(long, value_name = "NAME", default_value = "default")]
    lockspace: String,
    /// On which resource; absent: on the lockspace as a whole.
    #[arg(long, value_name = "RESOURCE", value_parser = ResourceName::new)]
    name: Option<ResourceName>,
    /// What: lock (in every mode), lock:ex, inspect, watch, notify, force, expire, purge, drain or metrics.
    #[arg(long, value_name = "VERB")]
    verb: Verbs,
}

/// Does it.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Check(check) => self::check(check),
        Command::Show(of) => show(&policy(of)?, of.output),
    }
}

/// Access control as the configuration has it.
fn policy(of: &Of) -> Result<Policy, Failure> {
    let wrong = |error| Failure::new(exit::CONFIG, error);
    let serve = serve::Args { config: of.config.clone(), ..serve::Args::default() };
    let environment = settings::variables(std::env::vars_os()).map_err(wrong)?;
    let config = serve.load(environment).map_err(wrong)?;
    config.access.ok_or_else(|| {
        Failure::new(exit::FAILURE, "the configuration has no `access`: everybody may do everything")
            .hint("name the file of a broker with `--config`; docs/security.md says how access is configured")
    })
}

/// The answer about one verb.
struct Answer {
    verb: Verb,
    rule: Option<Rule>,
}

fn check(check: &Check) -> Result<(), Failure> {
    let policy = policy(&check.of)?;
    let who = &check.principal;
    let listed = who.starts_with("jwt:") && policy.jwt.is_some();
    let Some(rules) = (if listed { Some(policy.of_roles(&check.roles)) } else { policy.rules_of(who) }) else {
        return Err(Failure::new(
            exit::FAILURE,
            format_args!("nobody is called `{who}`, so a broker would not let it in"),
        )
        .hint("principals are called anonymous, token:ID and certificate:NAME; `sixpin access show` lists them"));
    };
    let principal = Principal::new(who, rules, policy.quotas);
    let lockspace = match check.lockspace.as_str() {
        "*" => None,
        name => {
            Some(Lockspace::new(name).map_err(|error| Failure::usage(format_args!("`--lockspace {name}`: {error}")))?)
        }
    };
    let resource = match (lockspace.clone(), check.name.clone()) {
        (Some(lockspace), Some(name)) => Some(ResourceId { lockspace, name }),
        (None, Some(_)) => return Err(Failure::usage("a resource is in one lockspace: name it with `--lockspace`")),
        (_, None) => None,
    };
    let place = match (&resource, &lockspace) {
        (Some(id), _) => Place::Resource(id),
        (None, Some(lockspace)) => Place::Lockspace(lockspace),
        (None, None) => Place::Everywhere,
    };
    let answers: Vec<Answer> =
        check.verb.iter().map(|verb| Answer { verb, rule: principal.why(verb, place).cloned() }).collect();
    match check.of.output {
        Format::Text => output::text(&answers.iter().map(|answer| sentence(who, answer, place)).collect::<String>())?,
        Format::Json => output::json(&answers.iter().map(|answer| document(who, answer)).collect::<Vec<_>>())?,
    }
    if answers.iter().all(|answer| answer.rule.is_some()) { Ok(()) } else { Err(Failure::told(exit::FAILURE)) }
}

fn sentence(who: &str, answer: &Answer, place: Place<'_>) -> String {
    let verb = answer.verb;
    match &answer.rule {
        Some(rule) => {
            format!(
                "yes: `{who}` may `{verb}` on {place}, by rule {} of role `{}` ({})\n",
                rule.number,
                rule.role,
                about(rule)
            )
        }
        None => format!("no: no rule of `{who}` allows `{verb}` on {place}\n"),
    }
}

fn document(who: &str, answer: &Answer) -> serde_json::Value {
    let rule = answer.rule.as_ref().map(|rule| json!({ "role": &*rule.role, "rule": rule.number }));
    json!({ "principal": who, "verb": answer.verb.to_string(), "allowed": rule.is_some(), "by": rule })
}

/// What a rule is about.
fn about(rule: &Rule) -> String {
    let lockspace =
        rule.lockspace.as_ref().map_or_else(|| "all lockspaces".into(), |name| format!("lockspace `{name}`"));
    match &rule.names {
        Names::Exactly(name) => format!("`{name}` in {lockspace}"),
        Names::Under(prefix) if prefix.is_empty() => format!("everything in {lockspace}"),
        Names::Under(prefix) => format!("`{prefix}…` in {lockspace}"),
    }
}

fn show(policy: &Policy, format: Format) -> Result<(), Failure> {
    let principals = principals(policy);
    let words = |rule: &Rule| rule.allow.iter().map(|verb| verb.to_string()).collect::<Vec<_>>();
    if format == Format::Json {
        let rule = |rule: &Rule| json!({ "role": &*rule.role, "rule": rule.number, "about": about(rule), "allow": words(rule) });
        let rules: Vec<_> = policy.roles.values().flat_map(|role| role.iter()).map(rule).collect();
        let principals: Vec<_> = principals
            .iter()
            .map(|(name, roles, expires)| json!({ "principal": name, "roles": roles, "expires": expires }))
            .collect();
        return output::json(&json!({ "principals": principals, "rules": rules }));
    }
    let mut who = Table::new(&["PRINCIPAL", "ROLES", "EXPIRES"]);
    for (name, roles, expires) in principals {
        who.row([name, roles.join(", "), expires.unwrap_or_default()]);
    }
    let mut what = Table::new(&["ROLE", ">RULE", "ABOUT", "ALLOWS"]);
    for rule in policy.roles.values().flat_map(|role| role.iter()) {
        what.row([rule.role.to_string(), rule.number.to_string(), about(rule), words(rule).join(" ")]);
    }
    output::text(&format!("{}\n{}", who.render(), what.render()))
}

/// Everybody who is known, with roles and end.
fn principals(policy: &Policy) -> Vec<(String, Vec<String>, Option<String>)> {
    let names = |roles: &[std::sync::Arc<str>]| roles.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expires = |moment| humantime::format_rfc3339_seconds(moment).to_string();
    let mut principals = vec![("anonymous".to_owned(), names(&policy.anonymous), None)];
    principals.extend(
        policy
            .tokens
            .iter()
            .map(|(id, token)| (format!("token:{id}"), names(&token.roles), token.expires.map(expires))),
    );
    let certificates = policy.certificates.iter();
    principals.extend(certificates.map(|(pattern, roles)| (format!("certificate:{pattern}"), names(roles), None)));
    principals
}
