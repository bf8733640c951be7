//! Echoes what comes over KCP: the smallest driver around `ratbond_proto::kcp`, and the end that tests/interop holds
//! against kcp-go.
//!
//! ```text
//! kcp_echo ADDRESS [--aes SECRET] [--message]
//! ```
//!
//! The last conversation that began is the one it echoes, whoever its peer is. Prints the address it listens on.

use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ratbond_proto::kcp::config::Mode;
use ratbond_proto::kcp::segment::Segments;
use ratbond_proto::kcp::{Config, Crypt, Kcp, crypt, fec};
use ratbond_proto::{PacketPool, Time};

/// How long the loop sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(1);

struct Options {
    address: String,
    crypt: Crypt,
    config: Config,
}

fn options() -> Result<Options, String> {
    let mut arguments = std::env::args().skip(1);
    let mut address = None;
    let mut crypt = Crypt::Plain;
    let mut config = Config::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--aes" => crypt = Crypt::aes(&arguments.next().ok_or("--aes needs a secret")?),
            "--message" => config.mode = Mode::Message,
            _ if address.is_none() && !argument.starts_with('-') => address = Some(argument),
            _ => return Err(format!("{argument} is not understood")),
        }
    }
    Ok(Options {
        address: address.ok_or("usage: kcp_echo ADDRESS [--aes SECRET] [--message]")?,
        crypt,
        config,
    })
}

/// The conversation that is echoed.
struct Conversation {
    kcp: Kcp,
    peer: SocketAddr,
}

impl Conversation {
    fn echo(&mut self, pool: &mut PacketPool) -> Result<(), String> {
        while self.kcp.has_room() {
            let Some(message) = self.kcp.recv(pool) else { return Ok(()) };
            self.kcp.send(message).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn transmit(&mut self, now: Time, socket: &UdpSocket, crypt: &Crypt, nonces: &mut u64) -> io::Result<()> {
        let mut datagram = Vec::new();
        loop {
            Crypt::begin(&mut datagram);
            if self.kcp.poll_transmit(now, &mut datagram) == 0 {
                return Ok(());
            }
            // A counter never repeats; that anybody can guess it does not matter to a test.
            *nonces += 1;
            let mut nonce = [0; crypt::NONCE_LEN];
            nonce[..8].copy_from_slice(&nonces.to_le_bytes());
            crypt.seal(&mut datagram, nonce);
            socket.send_to(&datagram, self.peer)?;
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let socket =
        UdpSocket::bind(&options.address).map_err(|error| format!("{}: {error}", options.address))?;
    let told = |error: io::Error| error.to_string();
    println!("listening {}", socket.local_addr().map_err(told)?);
    io::stdout().flush().map_err(told)?;

    let origin = Instant::now();
    let clock = || Time::from_nanos(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
    let mut pool = PacketPool::new(4096);
    let mut current: Option<Conversation> = None;
    let mut buffer = vec![0; 1 << 16];
    let mut nonces = 0;
    loop {
        let due = current.as_ref().and_then(|conversation| conversation.kcp.poll_timeout());
        let wait =
            due.map_or(IDLE, |at| at.saturating_since(clock())).clamp(Duration::from_micros(100), IDLE);
        socket.set_read_timeout(Some(wait)).map_err(told)?;
        let arrived = match socket.recv_from(&mut buffer) {
            Ok(arrived) => Some(arrived),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
            Err(error) => return Err(error.to_string()),
        };
        let now = clock();
        if let Some((len, peer)) = arrived
            && let Ok(opened) = options.crypt.open(&mut buffer[..len])
            && let Some(segments) = fec::segments(opened).map(|range| &opened[range])
            && let Some(Ok(first)) = Segments::new(segments).next()
        {
            let conv = first.header.conv;
            if !current.as_ref().is_some_and(|known| known.peer == peer && known.kcp.conv() == conv) {
                current = Some(Conversation { kcp: Kcp::new(conv, options.config, now), peer });
            }
            if let Some(conversation) = &mut current {
                conversation.kcp.input(now, segments, &mut pool);
            }
        }
        if let Some(conversation) = &mut current {
            conversation.kcp.handle_timeout(now);
            conversation.echo(&mut pool)?;
            conversation.transmit(now, &socket, &options.crypt, &mut nonces).map_err(told)?;
        }
    }
}

fn main() {
    if let Err(error) = options().and_then(|options| run(&options)) {
        eprintln!("kcp_echo: {error}");
        std::process::exit(1);
    }
}
