//! etcd's messages, as `etcd-client` has them, and short ways to write and read the ones that are used.
//!
//! Requests are made with the crate's own words. Of answers the bare messages are read: its wrappers leave out whether a
//! watch's answer is a fragment, copy every answer of a transaction, and trust that none of them is empty and that no
//! alarm is of a new kind.

use etcd_client::{CompareOp, DeleteOptions, GetOptions};

pub(crate) use etcd_client::proto::{
    PbAlarmResponse as AlarmResponse, PbKeyValue as KeyValue, PbRangeResponse as RangeResponse,
    PbResponseHeader as ResponseHeader, PbResponseOp as ResponseOp, PbStatusResponse as StatusResponse,
    PbTxnOpResponse as Response, PbTxnResponse as TxnResponse, PbWatchResponse as WatchResponse,
};
pub(crate) use etcd_client::{AlarmType, Compare, MemberListResponse, Txn, TxnOp};

use crate::keys::Range;

pub(crate) fn get(key: impl Into<Vec<u8>>) -> TxnOp {
    TxnOp::get(key, None)
}

/// What a key was at a revision.
pub(crate) fn get_at(key: impl Into<Vec<u8>>, revision: i64) -> TxnOp {
    TxnOp::get(key, Some(GetOptions::new().with_revision(revision)))
}

pub(crate) fn get_range(range: Range, limit: i64) -> TxnOp {
    TxnOp::get(range.start, Some(GetOptions::new().with_range(range.end).with_limit(limit)))
}

/// Keys and versions of a range, without the values.
pub(crate) fn get_keys(range: Range, limit: i64) -> TxnOp {
    let options = GetOptions::new().with_range(range.end).with_limit(limit).with_keys_only();
    TxnOp::get(range.start, Some(options))
}

pub(crate) fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> TxnOp {
    TxnOp::put(key, value, None)
}

pub(crate) fn delete(key: impl Into<Vec<u8>>) -> TxnOp {
    TxnOp::delete(key, None)
}

pub(crate) fn delete_range(range: Range) -> TxnOp {
    TxnOp::delete(range.start, Some(DeleteOptions::new().with_range(range.end)))
}

/// The key was last written at this revision; 0 if there is none.
pub(crate) fn at_revision(key: impl Into<Vec<u8>>, revision: i64) -> Compare {
    Compare::mod_revision(key, CompareOp::Equal, revision)
}

/// There is this key.
pub(crate) fn present(key: impl Into<Vec<u8>>) -> Compare {
    Compare::create_revision(key, CompareOp::NotEqual, 0)
}

/// There is no such key.
pub(crate) fn absent(key: impl Into<Vec<u8>>) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, 0)
}

/// There is no key in this range.
pub(crate) fn none(range: Range) -> Compare {
    absent(range.start).with_range(range.end)
}

/// The key is there and has this value.
pub(crate) fn has_value(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Compare {
    Compare::value(key, CompareOp::Equal, value)
}

/// The answer of a get; none if it is something else.
pub(crate) fn into_range(answer: ResponseOp) -> Option<RangeResponse> {
    match answer.response {
        Some(Response::ResponseRange(range)) => Some(range),
        _ => None,
    }
}

/// The answer of a nested transaction; none if it is something else.
pub(crate) fn into_txn(answer: ResponseOp) -> Option<TxnResponse> {
    match answer.response {
        Some(Response::ResponseTxn(txn)) => Some(txn),
        _ => None,
    }
}
