use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Book, Evidence, Reply, socket};

/// Threads that send the same requests over and over.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

/// What came of them.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Every answer, with what was asked.
    pub replies: Vec<(&'static str, Reply)>,
    /// Requests that were sent and had none.
    pub unanswered: u64,
}

impl Load {
    /// Starts this many threads, each sending every request in turn, on a connection of its own.
    pub fn start(
        address: SocketAddr,
        requests: &[(&'static str, Vec<u8>)],
        threads: usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..threads)
            .map(|_| {
                let (stop, requests) = (Arc::clone(&stop), requests.to_vec());
                std::thread::spawn(move || {
                    let mut tally = Tally::default();
                    while !stop.load(Ordering::Relaxed) {
                        tally.send(address, &requests);
                    }
                    tally
                })
            })
            .collect();
        Self { stop, threads }
    }

    /// Ends it and adds everything up.
    pub fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for thread in self.threads {
            all.add(thread.join().expect("a thread of the load"));
        }
        all
    }
}

impl Tally {
    /// Sends each request once.
    pub fn send(&mut self, address: SocketAddr, requests: &[(&'static str, Vec<u8>)]) {
        for (what, request) in requests {
            match socket::attempt(address, request) {
                Ok(Some(reply)) => self.replies.push((what, reply)),
                // Nobody listens, so nothing was sent: for whoever is to listen again, some rest.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(None) | Err(_) => self.unanswered += 1,
            }
        }
    }

    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.replies.extend(other.replies);
        self.unanswered += other.unanswered;
    }

    /// How many answers satisfy a condition.
    pub fn count(&self, wanted: impl Fn(&Reply) -> bool) -> u64 {
        let found = self.replies.iter().filter(|(_, reply)| wanted(reply));
        found.count() as u64
    }

    /// What was answered, for people.
    pub fn told(&self) -> String {
        let mut told = BTreeMap::new();
        for (_, reply) in &self.replies {
            let answer = format!("{} {}", reply.status, reply.code());
            *told.entry(answer).or_insert(0) += 1;
        }
        format!("{told:?}, no answer to {}", self.unanswered)
    }

    /// Takes everything down. Where the answer to a Check never arrived, there may have been one all the same.
    pub fn into_book(self, book: &mut Book) {
        for (what, reply) in &self.replies {
            book.take(what, reply, Evidence::Any);
            if matches!(reply.code().as_str(), "" | "authorizer_unavailable") {
                book.may_have(1);
            }
        }
        book.may_have(self.unanswered);
    }
}
