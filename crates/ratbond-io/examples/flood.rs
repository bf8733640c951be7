//! Sends datagrams at a rate for a while: the attacker of bench/attacks.py.
//!
//! ```text
//! flood ADDRESS:PORT RATE SECONDS LENGTH HEAD [COUNTER]
//! ```
//! RATE is in datagrams a second. Each datagram is HEAD (hex), then random bytes up to LENGTH, the first eight of them anew in
//! each datagram: the sender is to cost this machine as little as may be. With COUNTER, a number, the
//! four bytes at offset 5 count up from it: the packet number of a sealed datagram. Prints how many were sent, and how
//! many answers and bytes came back.
//!
//! It is meant for test networks of one's own: run it nowhere else.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Datagrams that leave together; one wake-up of the sender for each.
const BURST: u64 = 50;
const COUNTER_AT: usize = 5;

struct Flood {
    target: String,
    rate: u64,
    duration: Duration,
    datagram: Vec<u8>,
    head_len: usize,
    counter: Option<u32>,
}

fn parse(arguments: &[String]) -> Result<Flood, String> {
    let [target, rate, seconds, length, head, counter @ ..] = arguments else {
        return Err("usage: flood ADDRESS:PORT RATE SECONDS LENGTH HEAD [COUNTER]".into());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
    let mut datagram = hex(head).ok_or_else(|| format!("{head} is not hex"))?;
    let head_len = datagram.len();
    datagram.resize(head_len.max(number(length)? as usize), 0);
    let counter = counter.first().map(number).transpose()?.map(|counter| counter as u32);
    if counter.is_some() && datagram.len() < COUNTER_AT + 4 {
        return Err("a datagram with a counter has nine bytes at least".into());
    }
    let (rate, duration) = (number(rate)?.max(1), Duration::from_secs(number(seconds)?));
    Ok(Flood { target: target.clone(), rate, duration, datagram, head_len, counter })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

impl Flood {
    fn next(&mut self, rng: &mut ChaCha8Rng) -> &[u8] {
        let fresh = (self.head_len + 8).min(self.datagram.len());
        rng.fill_bytes(&mut self.datagram[self.head_len..fresh]);
        if let Some(counter) = &mut self.counter {
            self.datagram[COUNTER_AT..COUNTER_AT + 4].copy_from_slice(&counter.to_be_bytes());
            *counter = counter.wrapping_add(1);
        }
        &self.datagram
    }

    fn run(&mut self) -> std::io::Result<(u64, u64, u64)> {
        let any = if self.target.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(&self.target)?;
        socket.set_nonblocking(true)?;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        rng.fill_bytes(&mut self.datagram[self.head_len..]);
        let (mut sent, mut answers, mut answer_bytes) = (0, 0, 0);
        let start = Instant::now();
        let total = self.rate * self.duration.as_secs();
        let mut buffer = [0; 2_048];
        for burst in 0.. {
            let due = start + Duration::from_nanos(burst * BURST * 1_000_000_000 / self.rate);
            if burst * BURST >= total {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            for _ in 0..BURST {
                // A full send buffer, or an ICMP error of an earlier one: a flood does not care.
                sent += u64::from(socket.send(self.next(&mut rng)).is_ok());
            }
            while let Ok(len) = socket.recv(&mut buffer) {
                answers += 1;
                answer_bytes += len as u64;
            }
        }
        Ok((sent, answers, answer_bytes))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = parse(&arguments).and_then(|mut flood| flood.run().map_err(|error| error.to_string()));
    match result {
        Ok((sent, answers, bytes)) => println!("{sent} {answers} {bytes}"),
        Err(error) => {
            eprintln!("flood: {error}");
            std::process::exit(2);
        }
    }
}
