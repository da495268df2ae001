//! How the stores are started for tests: on loopback, with the durability that sixpin asks for by default.
//!
//! Each function gives a plan; add arguments to see another configuration (`redis().arguments(["--maxmemory", "1mb"])`)
//! and `start` it.

use crate::server::{Probe, ServerPlan};

/// Redis with an append-only file that is flushed before each reply.
pub fn redis() -> ServerPlan {
    ServerPlan {
        program: "redis-server",
        arguments: strings(&[
            "--bind",
            "127.0.0.1",
            "--port",
            "{port}",
            "--dir",
            "{dir}",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
            "--maxmemory-policy",
            "noeviction",
        ]),
        files: Vec::new(),
        probe: Probe { question: "PING\r\n".into(), answer: "+PONG" },
    }
}

/// One member of etcd.
pub fn etcd() -> ServerPlan {
    ServerPlan {
        program: "etcd",
        arguments: strings(&[
            "--name",
            "test",
            "--data-dir",
            "{dir}/etcd",
            "--logger",
            "zap",
            "--log-level",
            "warn",
            "--listen-client-urls",
            "http://127.0.0.1:{port}",
            "--advertise-client-urls",
            "http://127.0.0.1:{port}",
            "--listen-peer-urls",
            "http://127.0.0.1:{peer_port}",
            "--initial-advertise-peer-urls",
            "http://127.0.0.1:{peer_port}",
            "--initial-cluster",
            "test=http://127.0.0.1:{peer_port}",
        ]),
        files: Vec::new(),
        probe: Probe {
            question: "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(),
            answer: "\"health\":\"true\"",
        },
    }
}

/// NATS with JetStream, which is flushed to disk every two minutes: the server's default.
pub fn nats() -> ServerPlan {
    nats_with("jetstream { store_dir: \"{dir}/jetstream\" }\n")
}

/// NATS with JetStream, flushed to disk before each acknowledgement.
pub fn nats_flushing() -> ServerPlan {
    nats_with("jetstream { store_dir: \"{dir}/jetstream\", sync_interval: always }\n")
}

/// NATS with this configuration besides the address.
pub fn nats_with(configuration: &str) -> ServerPlan {
    ServerPlan {
        program: "nats-server",
        arguments: strings(&["--config", "{dir}/nats.conf"]),
        files: vec![("nats.conf".into(), format!("listen: \"127.0.0.1:{{port}}\"\n{configuration}"))],
        // The first line that the server sends names what it can do.
        probe: Probe { question: String::new(), answer: "\"jetstream\":true" },
    }
}

fn strings(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}
