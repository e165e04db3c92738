//! Reads `caracal.authority`, the quick way of news. It may stall, repeat itself, be emptied or be lost:
//! what it brings is only ever a hint that is checked against positions.

use std::time::Duration;

use chassis::Lifecycle;
use chassis::redis::Client;
use chassis::streams::{AUTHORITY, Entry, EntryId, Reader};
use tokio::sync::mpsc;

/// How long one read waits.
const BLOCK: Duration = Duration::from_secs(1);

/// Reads until the soft token, and hands on what it reads.
pub(super) async fn read(client: Client, lifecycle: Lifecycle, news: mpsc::Sender<Vec<Entry>>) {
    // What was published before the snapshot is passed over by position, unverified.
    let mut reader = Reader::new(client, AUTHORITY, EntryId::START).block(BLOCK);
    let mut lost = false;
    loop {
        let entries = tokio::select! {
            () = lifecycle.soft().cancelled() => return,
            entries = reader.next() => entries,
        };
        match entries {
            Ok(entries) => {
                lost = false;
                if !entries.is_empty() && news.send(entries).await.is_err() {
                    return;
                }
            }
            Err(error) if !lost => {
                lost = true;
                let error = error.to_string();
                tracing::warn!(error, "the stream is lost; changes are asked for instead");
            }
            Err(_) => {}
        }
    }
}
