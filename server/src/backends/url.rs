//! A store's URL, taken apart as far as all stores have it in common: a scheme, hosts with a login, and what comes behind.
//!
//! Clients of NATS and etcd write the scheme before each of several hosts (`nats://a,nats://b`); here it may stand once or
//! before each. Invariant: what stands before an `@` is never shown.

use sixpin_core::backend::OpenError;

/// A URL in its parts.
pub(super) struct Url<'a> {
    text: &'a str,
    scheme: &'a str,
    parts: Vec<Part<'a>>,
}

/// What stands behind one scheme: hosts separated by commas, and in the last part the rest of the URL.
struct Part<'a> {
    login: Option<&'a str>,
    hosts: &'a str,
    rest: &'a str,
}

impl<'a> Url<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self { text, scheme: "", parts: Vec::new() };
        };
        let again = format!("{scheme}://");
        let mut parts = Vec::new();
        let mut begin = 0;
        for (place, _) in rest.match_indices(&again) {
            // The same text may stand elsewhere: only behind a comma it begins another part.
            if let Some(before) = rest[begin..place].trim_end().strip_suffix(',') {
                parts.push(Part::parse(before));
                begin = place + again.len();
            }
        }
        parts.push(Part::parse(&rest[begin..]));
        Self { text, scheme, parts }
    }

    /// The URL with its scheme and its login once.
    pub(super) fn short(&self) -> Result<String, OpenError> {
        let [first, others @ ..] = &self.parts[..] else { return Ok(self.text.into()) };
        if others.is_empty() {
            return Ok(self.text.into());
        }
        if others.iter().any(|part| part.login.is_some() && part.login != first.login) {
            let text = format!("`{}` has more than one login: the hosts of one store have one", self.redacted());
            return Err(OpenError::BadUrl(text));
        }
        let hosts: Vec<&str> = self.parts.iter().map(|part| part.hosts).collect();
        let rests: Vec<&str> =
            self.parts.iter().map(|part| part.rest).filter(|rest| !matches!(*rest, "" | "/")).collect();
        let login = first.login.map(|login| format!("{login}@")).unwrap_or_default();
        match rests[..] {
            [] => Ok(format!("{}://{login}{}", self.scheme, hosts.join(","))),
            [rest] if self.parts.last().is_some_and(|last| last.rest == rest) => {
                Ok(format!("{}://{login}{}{rest}", self.scheme, hosts.join(",")))
            }
            _ => Err(OpenError::BadUrl(format!(
                "`{}` names more than hosts before its end: write {}://host:port,host:port",
                self.redacted(),
                self.scheme
            ))),
        }
    }

    pub(super) fn redacted(&self) -> String {
        if self.parts.is_empty() {
            // No URL; what stands before an @ is a login all the same.
            return self.text.rsplit_once('@').map_or(self.text.into(), |(_, rest)| format!("...@{rest}"));
        }
        let shown = |part: &Part<'_>| {
            let path = &part.rest[..part.rest.find('?').unwrap_or(part.rest.len())];
            format!("{}{path}", part.hosts)
        };
        let parts: Vec<String> = self.parts.iter().map(shown).collect();
        format!("{}://{}", self.scheme, parts.join(","))
    }

    pub(super) fn has_secret(&self) -> bool {
        // What stands alone before the @ is a user in most URLs and a token in those of NATS.
        let token = matches!(self.scheme, "nats" | "tls");
        let no_url = self.parts.is_empty() && self.text.contains('@');
        no_url
            || self.parts.iter().any(|part| {
                let query = part.rest.split_once('?').map_or("", |(_, query)| query).to_lowercase();
                part.login.is_some_and(|login| token || login.contains(':'))
                    || ["pass", "token", "secret"].iter().any(|word| query.contains(word))
            })
    }
}

impl<'a> Part<'a> {
    fn parse(text: &'a str) -> Self {
        let (authority, rest) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        Self { login, hosts, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_may_stand_before_each_host() {
        for (url, short) in [
            ("memory:", "memory:"),
            ("nats://a", "nats://a"),
            ("nats://a,b", "nats://a,b"),
            ("nats://a:1,nats://b:2", "nats://a:1,b:2"),
            ("nats://a, nats://b", "nats://a,b"),
            ("tls://a/,tls://b/", "tls://a,b"),
            ("etcd://u:p@a,b,etcd://c,etcd://u:p@d", "etcd://u:p@a,b,c,d"),
            ("redis+sentinel://a,redis+sentinel://b/main/0", "redis+sentinel://a,b/main/0"),
        ] {
            assert_eq!(Url::parse(url).short().unwrap(), short);
        }
        for url in [
            "nats://a,nats://u:hunter2@b",
            "nats://u:hunter2@a,nats://v:hunter2@b",
            "redis+sentinel://a/m/0,redis+sentinel://b/m/0",
        ] {
            let error = Url::parse(url).short().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
        // Another scheme is none of ours to put together: the store refuses it.
        assert_eq!(Url::parse("etcd://a,http://b").short().unwrap(), "etcd://a,http://b");
    }
}
