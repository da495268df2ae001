//! etcd's messages, and short ways to write the ones that are sent.

use bytes::Bytes;

use crate::keys::Range;

#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated from proto/etcd.proto")]
mod generated {
    tonic::include_proto!("etcdserverpb");
}

pub(crate) use generated::*;

use compare::{Target, TargetUnion};
use request_op::Request;
use response_op::Response;

impl TxnRequest {
    pub(crate) fn when(compare: Vec<Compare>) -> Self {
        Self { compare, ..Self::default() }
    }

    #[must_use]
    pub(crate) fn then(self, success: Vec<RequestOp>) -> Self {
        Self { success, ..self }
    }

    #[must_use]
    pub(crate) fn or_else(self, failure: Vec<RequestOp>) -> Self {
        Self { failure, ..self }
    }

    /// This transaction as one operation of another.
    pub(crate) fn nested(self) -> RequestOp {
        RequestOp { request: Some(Request::RequestTxn(self)) }
    }
}

impl RequestOp {
    pub(crate) fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        let (key, value) = (key.into(), value.into());
        Self { request: Some(Request::RequestPut(PutRequest { key, value })) }
    }

    pub(crate) fn get(key: impl Into<Bytes>) -> Self {
        Self { request: Some(Request::RequestRange(RangeRequest { key: key.into(), ..RangeRequest::default() })) }
    }

    pub(crate) fn range(range: Range, limit: i64) -> Self {
        let (key, range_end) = (range.start.into(), range.end.into());
        Self { request: Some(Request::RequestRange(RangeRequest { key, range_end, limit, ..RangeRequest::default() })) }
    }

    /// Keys and versions of a range, without the values.
    pub(crate) fn range_keys(range: Range, limit: i64) -> Self {
        let (key, range_end) = (range.start.into(), range.end.into());
        let request = RangeRequest { key, range_end, limit, keys_only: true, ..RangeRequest::default() };
        Self { request: Some(Request::RequestRange(request)) }
    }

    /// What a key was at a revision.
    pub(crate) fn get_at(key: impl Into<Bytes>, revision: i64) -> Self {
        let request = RangeRequest { key: key.into(), revision, ..RangeRequest::default() };
        Self { request: Some(Request::RequestRange(request)) }
    }

    pub(crate) fn delete(key: impl Into<Bytes>) -> Self {
        let request = DeleteRangeRequest { key: key.into(), range_end: Bytes::new() };
        Self { request: Some(Request::RequestDeleteRange(request)) }
    }

    pub(crate) fn delete_range(range: Range) -> Self {
        let request = DeleteRangeRequest { key: range.start.into(), range_end: range.end.into() };
        Self { request: Some(Request::RequestDeleteRange(request)) }
    }
}

impl Compare {
    /// The key was last written at this revision; 0 if there is none.
    pub(crate) fn revision(key: impl Into<Bytes>, revision: i64) -> Self {
        Self {
            target: Target::Mod.into(),
            key: key.into(),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Self::default()
        }
    }

    /// There is this key.
    pub(crate) fn present(key: impl Into<Bytes>) -> Self {
        Self { result: compare::Result::NotEqual.into(), ..Self::absent(key) }
    }

    /// There is no such key.
    pub(crate) fn absent(key: impl Into<Bytes>) -> Self {
        Self {
            target: Target::Create.into(),
            key: key.into(),
            target_union: Some(TargetUnion::CreateRevision(0)),
            ..Self::default()
        }
    }

    /// There is no key in this range.
    pub(crate) fn none(range: Range) -> Self {
        Self { range_end: range.end.into(), ..Self::absent(range.start) }
    }

    /// The key is there and has this value.
    pub(crate) fn value(key: impl Into<Bytes>, value: Bytes) -> Self {
        Self {
            target: Target::Value.into(),
            key: key.into(),
            target_union: Some(TargetUnion::Value(value)),
            ..Self::default()
        }
    }
}

impl ResponseOp {
    /// The answer of a get or a range; none if it is something else.
    pub(crate) fn into_range(self) -> Option<RangeResponse> {
        match self.response {
            Some(Response::ResponseRange(range)) => Some(range),
            _ => None,
        }
    }

    /// The answer of a nested transaction; none if it is something else.
    pub(crate) fn into_txn(self) -> Option<TxnResponse> {
        match self.response {
            Some(Response::ResponseTxn(txn)) => Some(txn),
            _ => None,
        }
    }
}
